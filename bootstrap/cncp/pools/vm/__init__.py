"""Virtual machines as hosts of a cluster."""
