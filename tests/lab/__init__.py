"""Real hosts with systemd and sshd on one machine, for the tests that need them."""
