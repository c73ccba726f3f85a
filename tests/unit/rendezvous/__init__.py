"""Unit tests of cncp.rendezvous."""
