"""Nodes that boot from the network, are put into an image, and change images when they are asked to."""
