#!/bin/sh
# Takes this node's name from what was written when the image was put on its disk.
name=$(sed -n 's/.*"node": "\([A-Za-z0-9.-]*\)".*/\1/p' /etc/cncp/cidkid.json)
[ -z "$name" ] || printf '%s\n' "$name" > /proc/sys/kernel/hostname
