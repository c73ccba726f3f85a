"""Installing for real: from an index on loopback, from bundles, with programs that get in the way."""
