"""cidd with nodes that are not there, and with some that are."""
