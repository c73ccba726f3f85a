"""Who may reach a cluster, and how: ssh keys, connection files copied and rotated, tunnels."""
