"""Tests with real Chef, and of all that has to do with it."""
