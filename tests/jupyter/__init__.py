"""Real Jupyter beside a real cluster on this machine, installed from a bundle."""
