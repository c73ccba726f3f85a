# shellcheck shell=dash
# GRUB's environment block: 1024 bytes, a line for each variable, the rest filled with #. Blancmange and images use this.
# It is overwritten in place, as GRUB itself does it, so that a power cut leaves the old one or the new one.

# Print a variable's value: env_get FILE NAME
env_get() {
    sed -n "s/^$2=//p" "$1"
}

# Set variables, none of which has a blank or a line's end: env_set FILE NAME=VALUE ...
env_set() {
    local text pair file=$1
    shift
    text=$(grep '^[a-z_]*=' "$file" || :)
    for pair; do
        text=$(printf '%s\n' "$text" | grep -v "^${pair%%=*}=" || :
            printf '%s\n' "$pair")
    done
    text=$(printf '# GRUB Environment Block\n%s' "$text" | sed '/^$/d')
    { printf '%s\n' "$text" && printf '%1024s' '' | tr ' ' '#'; } | head -c 1024 |
        dd of="$file" bs=1024 conv=notrunc,fsync 2> /dev/null
}

# Print the slots with the one that was used last at the end: env_used "OLD ORDER" SLOT
env_used() {
    local slot
    for slot in $(printf '%s' "$1" | tr , ' '); do
        [ "$slot" = "$2" ] || printf '%s,' "$slot"
    done
    printf '%s' "$2"
}
