#!/bin/sh
# The first program of an image's initrd: mounts the slot, or a squashfs on it under an overlay, and goes on there.
# shellcheck shell=dash

# shellcheck source=SCRIPTDIR/../initramfs_base/kernel.sh disable=SC1091
. /lib/cncp/kernel.sh
mount_kernel

stop() {
    echo "this image cannot be booted: $1" > /dev/console
    sleep 10
    reboot -f
}

root='' init=/sbin/init mode=rw fresh=''
# shellcheck disable=SC2013  # words
for word in $(cat /proc/cmdline); do
    case $word in
        root=*) root=${word#*=} ;;
        init=*) init=${word#*=} ;;
        ro | rw) mode=$word ;;
        cncp.fresh) fresh=yes ;;
    esac
done

load_modules

tries=0
until device=$(findfs "$root" 2> /dev/null); do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || stop "there is no disk with $root"
    sleep 0.1
done

mkdir -p /slot /tree
mount -t ext4 -o "$mode" "$device" /slot || stop "$device cannot be mounted"
if [ -e /slot/root.squashfs ]; then
    mount -o remount,rw /slot
    mkdir -p /lower
    mount -t squashfs -o ro /slot/root.squashfs /lower || stop "its squashfs cannot be mounted"
    # What jobs have changed is gone once cidd has given the node another image, or this one again. Where the power was
    # cut meanwhile there is no upper folder yet, and it is made anew then.
    if [ -n "$fresh" ] || [ ! -d /slot/upper ]; then
        rm -rf /slot/upper /slot/upper.new /slot/work
        mkdir -p /slot/work
        cp -a /slot/identity /slot/upper.new
        sync
        mv /slot/upper.new /slot/upper
    fi
    mount -t overlay -o lowerdir=/lower,upperdir=/slot/upper,workdir=/slot/work overlay /tree ||
        stop "its overlay cannot be mounted"
    mkdir -p /tree/run
else
    mount --move /slot /tree
fi
for folder in proc sys dev; do
    mount --move "/$folder" "/tree/$folder" || umount "/$folder"
done
exec switch_root /tree "$init"
