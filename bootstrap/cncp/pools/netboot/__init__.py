"""Nodes that boot from the network as a pool: cidd puts them into an image, in which engines join by themselves."""
