"""What is given to others: the bundle for machines without a network, the single-file installer."""
