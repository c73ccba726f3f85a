# shellcheck shell=dash
# The disk: which one, its partitions by the table of the layout, what is on them before any image.
# The table, made of repart.d, has a line for each partition: NAME TYPE LEAST MOST FORMAT, in MiB; MOST is 0 where it grows.

settings=/etc/cncp
layout=$settings/layout

mkfs() {
    # GRUB 2.06 reads no file system with these two, which a later e2fsprogs chooses by itself.
    /sbin/mke2fs -q -F -t ext4 -m 0 -O ^metadata_csum_seed,^orphan_file "$@"
}

# Print the disk to use: that of the configuration, that of an earlier time, or the first with enough room: choose_disk
choose_disk() {
    if [ -n "$(cat "$settings/disk")" ]; then
        cat "$settings/disk"
        return
    fi
    local least held found name size seen=
    least=$(awk '{ sum += $3 } END { print sum + 2 }' "$layout")
    if held=$(grep -lx PARTNAME=blancmange /sys/block/*/*/uevent); then
        held=$(echo "$held" | head -n 1)
        held=${held%/*/uevent}
        echo "/dev/${held##*/}"
        return
    fi
    for found in /sys/block/*; do
        name=${found##*/}
        case $name in
            loop* | ram* | zram* | sr* | fd* | md* | dm-*) continue ;;
        esac
        size=$(($(cat "$found/size") / 2048))
        if [ "$(cat "$found/removable")$(cat "$found/ro")" = 00 ] && [ "$size" -ge "$least" ]; then
            echo "/dev/$name"
            return
        fi
        seen="$seen${seen:+,} $name with $size MiB"
    done
    echo "no disk has the $least MiB that the layout needs:${seen:- there is none}" >&2
    return 1
}

# Print what sfdisk is to make of a disk of so many sectors: START SIZE TYPE NAME in sectors for each, but for one that is
# left out: wanted SECTORS [PARTITION]
wanted() {
    awk -v mib="$(($1 / 2048))" -v left_out="${2:-}" '
        $1 == left_out { next }
        { name[++n] = $1; type[n] = $2; size[n] = $3; most[n] = $4; least += $3; growing += $4 == 0 }
        END {
            spare = mib - 2 - least
            if (spare < 0) { print "the disk has " mib " MiB, the layout needs " least + 2 > "/dev/stderr"; exit 1 }
            start = 1
            for (i = 1; i <= n; i++) {
                if (most[i] == 0) size[i] += int(spare / growing)
                printf "%d %d %s %s\n", start * 2048, size[i] * 2048, toupper(type[i]), name[i]
                start += size[i]
            }
        }' "$layout"
}

# Print what is on a disk, in the same form. The name of a slot is that of its image: present DISK
present() {
    /sbin/sfdisk --dump "$1" 2> /dev/null |
        sed -n 's/.*start= *\([0-9]*\), size= *\([0-9]*\), type=\([^,]*\),.*name="\([^"]*\)".*/\1 \2 \3 \4/p'
}

# Print the table of a disk without the names of images.
form() {
    cut -d ' ' -f 1-3
}

# Have a disk be partitioned; one that is so already is left as it is, and so is one of before there was an ESP: it has
# images, which its BIOS boots. partition_disk DISK
partition_disk() {
    local table sectors before
    sectors=$(blockdev --getsz "$1")
    before=$(present "$1" | form)
    [ -z "$before" ] || [ "$before" != "$(wanted "$sectors" esp 2> /dev/null | form)" ] || return 0
    table=$(wanted "$sectors")
    [ "$before" != "$(echo "$table" | form)" ] || return 0
    echo "$table" | awk 'BEGIN { print "label: gpt" } { print "start=" $1 ", size=" $2 ", type=" $3 ", name=" $4 }' |
        /sbin/sfdisk -q --wipe always --wipe-partitions always "$1"
    reread "$1"
}

# Have the kernel know a disk's partitions.
reread() {
    blockdev --rereadpt "$1" 2> /dev/null || :
}

# Print the number of a partition of the layout, which stays whatever image is in it: number NAME
number() {
    awk -v name="$1" '$1 == name { print NR }' "$layout"
}

# Print the device of a partition, once it is there: device DISK NAME
device() {
    local part file tries=0
    part=$(number "$2")
    while :; do
        for file in /sys/block/"${1##*/}"/*/partition; do
            if [ ! -e "$file" ] || [ "$(cat "$file")" != "$part" ]; then
                continue
            fi
            file=${file%/partition}
            file=/dev/${file##*/}
            # The kernel says that it is there before anybody can open it.
            if [ -b "$file" ]; then
                echo "$file"
                return
            fi
        done
        tries=$((tries + 1))
        [ "$tries" -lt 50 ] || break
        sleep 0.1
    done
    echo "$1 has no partition $part" >&2
    return 1
}

# Tell whether UEFI has booted this machine.
by_uefi() {
    [ -e /sys/firmware/efi ]
}

# Have swap space be there: make_swap DEVICE
make_swap() {
    [ "$(dd if="$1" bs=1 skip=4086 count=10 2> /dev/null)" = SWAPSPACE2 ] || mkswap -L swap "$1" > /dev/null
}

# Mount Blancmange's own file system, made anew where it is none: open_blancmange DISK FOLDER
open_blancmange() {
    local partition
    mkdir -p "$2"
    partition=$(device "$1" blancmange)
    mount -t ext4 "$partition" "$2" 2> /dev/null && return
    mkfs -L blancmange "$partition"
    mount -t ext4 "$partition" "$2"
}
