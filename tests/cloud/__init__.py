"""Clouds that answer as real ones do: moto as EC2, and an OpenStack of a few answers."""
