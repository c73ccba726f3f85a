#!/bin/sh
# Blancmange's first program: brings up what a machine needs to fetch an image, lets in who may look, and has that done.
# shellcheck shell=dash

# shellcheck source=SCRIPTDIR/../initramfs_base/kernel.sh disable=SC1091
. /lib/cncp/kernel.sh
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

# Ask every card that has a link for an address, all at once, until cidd answers: it may be at any of them, and a switch
# may need a while until it lets a node's words through.
network() {
    ip link set lo up
    until timeout 5 wget -q -O /dev/null "$cidd/v1/blancmange/sums" 2> /dev/null; do
        for card in /sys/class/net/*; do
            card=${card##*/}
            [ "$card" != lo ] || continue
            ip link set "$card" up
            [ "$(cat "/sys/class/net/$card/carrier" 2> /dev/null)" = 1 ] || continue
            ip addr show dev "$card" scope global | grep -q inet ||
                udhcpc -q -n -f -t 4 -T 1 -i "$card" -s /etc/cncp/udhcpc.sh > /dev/null 2>&1 &
        done
        wait
    done
}

cidd=$(sed -n 's/.*cidd=\([^ ]*\).*/\1/p' /proc/cmdline)
load_modules
# Before cidd answers: where it does not, somebody has to look.
if [ -s "$HOME/.ssh/authorized_keys" ]; then
    # Keys alone; its own key is new for each boot, as there is no secret in what everybody can fetch.
    mkdir -p /etc/dropbear
    /usr/sbin/dropbear -R -s -j -k -p 22
fi
network

/usr/bin/provision > /dev/console 2>&1
case $? in
    0) restart ;;
    2) say "it begins anew" && sleep 5 && restart ;;
esac
say "it waits for somebody to look: ssh root@$(hostname -i 2> /dev/null || echo this node)"
while :; do
    sleep 3600
done
