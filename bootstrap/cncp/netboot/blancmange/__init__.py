"""Blancmange, what a node boots from the network: a kernel, and an initramfs that puts an image on the disk.

``top_config.toml`` says what it is made of. Its steps are those of ``build``: Debian's packages are fetched
(``debian_packages``), what is needed of them is chosen (``initramfs_tree``), and packed (``initramfs_image``).
What runs on the node is in ``initramfs``; what it gives each image in ``cidkid.d``; the disk's layout in ``repart.d``.
"""
