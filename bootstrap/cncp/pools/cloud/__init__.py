"""Instances of clouds that join a cluster by themselves: who makes them, who keeps account of them, who ends them."""
