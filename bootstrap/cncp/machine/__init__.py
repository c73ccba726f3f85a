"""What is on one machine: attributes -> desired state -> converge -> health."""
