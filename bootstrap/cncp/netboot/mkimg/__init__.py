"""mkimg: a tree from Debian's packages, a folder or a running node becomes an image, signed, with cidkid in it."""
