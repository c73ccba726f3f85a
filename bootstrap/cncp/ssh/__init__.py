"""Other machines: reached, asked and given files by OpenSSH."""
