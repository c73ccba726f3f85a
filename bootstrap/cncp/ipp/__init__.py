"""What ipyparallel stores and speaks: identities, connection files, the hub."""
