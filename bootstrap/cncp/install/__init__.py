"""From a bare Python to a virtualenv with the locked packages. Standard library only."""
