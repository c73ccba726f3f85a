"""What root does for an account, and how it is asked."""
