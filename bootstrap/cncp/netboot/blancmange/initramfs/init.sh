#!/bin/sh
# Blancmange's first program: brings up what a machine needs to fetch an image, lets in who may look, and has that done.
# shellcheck shell=dash

# shellcheck source=SCRIPTDIR/../initramfs_base/kernel.sh disable=SC1091
. /lib/cncp/kernel.sh
# shellcheck source=SCRIPTDIR/network.sh disable=SC1091
. /lib/cncp/network.sh
# As etc/passwd has it; the kernel says that it is /.
export HOME=/root

mount_kernel
mkdir -p /dev/pts /run /tmp /mnt
mount -t devpts pts /dev/pts
mount -t tmpfs -o mode=700 tmp /tmp

say() {
    echo "blancmange: $1" > /dev/console
}

restart() {
    sync
    reboot -f
}

# A kernel of one build and an initramfs of the next may have met while both were replaced.
[ -d "/lib/modules/$(uname -r)" ] || { say "this is not the kernel that it was built with" && sleep 5 && restart; }

cidd=$(sed -n 's/.*cidd=\([^ ]*\).*/\1/p' /proc/cmdline)
load_modules
# Before cidd answers: where it does not, somebody has to look.
if [ -s "$HOME/.ssh/authorized_keys" ]; then
    # Keys alone; its own key is new for each boot, as there is no secret in what everybody can fetch.
    mkdir -p /etc/dropbear
    /usr/sbin/dropbear -R -s -j -k -p 22
fi
network "$cidd"

/usr/bin/provision > /dev/console 2>&1
case $? in
    0) restart ;;
    2) say "it begins anew" && sleep 5 && restart ;;
esac
say "it waits for somebody to look: ssh root@$(hostname -i 2> /dev/null || echo this node)"
while :; do
    sleep 3600
done
