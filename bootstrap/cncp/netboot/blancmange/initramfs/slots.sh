# shellcheck shell=dash disable=SC2154  # disk.sh has set what is not set here
# Slots: partitions for an image each. Which image is in one is its GPT name, set once the image is whole.

# Print the slots of the layout.
slots() {
    awk '$1 ~ /^slot[0-9]+$/ { print $1 }' "$layout"
}

# Print the name that a slot has on a disk: held DISK SLOT
held() {
    present "$1" | awk -v line="$(number "$2")" 'NR == line { print $4 }'
}

# Print the images on a disk as a list of JSON: images DISK
images() {
    local name slot list=
    for slot in $(slots); do
        name=$(held "$1" "$slot")
        case $name in
            slot* | '') ;;
            *) list="$list${list:+, }\"$name\"" ;;
        esac
    done
    echo "[$list]"
}

# Print the slot for an image: its own, an empty one, or that which was used longest ago: slot_for DISK IMAGE "ORDER OF USE"
slot_for() {
    local name slot empty='' oldest=''
    for slot in $(slots); do
        name=$(held "$1" "$slot")
        [ "$name" != "$2" ] || { echo "$slot" && return; }
        [ "$name" != "$slot" ] || empty=${empty:-$slot}
        case ,$3, in
            *,"$slot",*) ;;
            *) oldest=${oldest:-$slot} ;;
        esac
    done
    echo "${empty:-${oldest:-${3%%,*}}}"
}

# Give a slot's partition a name: name_slot DISK SLOT NAME
name_slot() {
    /sbin/sfdisk -q --no-reread --no-tell-kernel --part-label "$1" "$(number "$2")" "$3"
}
