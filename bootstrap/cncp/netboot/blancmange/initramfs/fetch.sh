# shellcheck shell=dash disable=SC2154  # provision.sh has set what is not set here
# What comes from cidd over plain HTTP: held against a signature, and against what the signed manifest says.

# Fetch a small file: fetch_small PATH FILE
fetch_small() {
    local tries=0
    until timeout 60 wget -q -O "$2" "$cidd$1"; do
        tries=$((tries + 1))
        [ "$tries" -lt 10 ] || fail "$cidd$1 cannot be fetched"
        sleep 1
    done
}

# Fetch a large file, going on where it was cut, and say how far all of them are: fetch_large PATH FILE SIZE BEFORE TOTAL
# BEFORE is how many bytes were there before this one, of TOTAL.
fetch_large() {
    local loader still before size percent told='' stalls=0
    until [ "$(length "$2")" -ge "$3" ]; do
        wget -q -c -O "$2" "$cidd$1" 2> /dev/null &
        loader=$! still=0
        # busybox's wget has no time-out of its own: one that stands still for 30 s is begun anew.
        while [ -e "/proc/$loader/exe" ] && [ "$still" -lt 150 ]; do
            before=$(length "$2")
            sleep 0.2
            size=$(length "$2")
            if [ "$size" = "$before" ]; then still=$((still + 1)); else still=0; fi
            percent=$((($4 + size) * 20 / $5)) && percent=$((percent * 5))
            [ "$percent" = "$told" ] || state fetch "\"percent\": $percent" > /dev/null
            told=$percent
        done
        kill "$loader" 2> /dev/null || :
        wait "$loader" 2> /dev/null || :
        [ "$(length "$2")" -ge "$3" ] && return
        stalls=$((stalls + 1))
        [ "$stalls" -lt 20 ] || fail "$cidd$1 does not arrive"
        sleep 1
    done
}

# Print how many bytes a file has.
length() {
    stat -c %s "$1" 2> /dev/null || echo 0
}

# Hold a file against its signature, which has to be for this: signed FILE SIGNATURE FOR
signed() {
    local comment
    comment=$(/usr/bin/minisign -V -Q -H -m "$1" -x "$2" -P "$(cat /etc/cncp/images.pub)" 2> /tmp/said) ||
        fail "the signature of $3 does not hold"
    [ "$comment" = "$3" ] || fail "what is signed is $comment, not $3"
}

# Print the blobs of a manifest, a line each: ROLE SHA256 SIZE
blobs() {
    tr -d ' ",' < "$1" | awk -F : '
        $1 == "role" { role = $2 } $1 == "sha256" { sum = $2 } $1 == "size" { print role, sum, $2 }'
}

# Print how the tree of a manifest is packed.
packed() {
    tr -d ' ",' < "$1" | sed -n 's/^root:\([a-z.]*\)$/\1/p'
}

# Print where blobs are fetched to: memory where they have room, else the slot itself: stage_for BYTES TREE
stage_for() {
    local free stage
    free=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)
    stage=$2/.cncp-stage
    if [ "$free" -gt "$(($1 / 820 + 131072))" ]; then
        stage=/mnt/stage
        mkdir -p "$stage"
        mount -t tmpfs -o "size=$(($1 / 1024 + 1024))k,mode=700" stage "$stage"
    fi
    mkdir -p "$stage"
    echo "$stage"
}

# Have the tree of an image be in its slot: unpack STAGE TREE HOW
unpack() {
    case $3 in
        tar.zst)
            # busybox's tar knows no extended attributes: without them ping and others have lost their capabilities.
            /usr/bin/tar -x -f "$1/root" -C "$2" -I /usr/bin/zstd --numeric-owner --xattrs '--xattrs-include=*' --acls ||
                why_not "$2"
            ;;
        squashfs)
            mv "$1/root" "$2/root.squashfs" 2> /dev/null || cp "$1/root" "$2/root.squashfs"
            ;;
        *)
            echo "it is packed as $3, which this Blancmange does not know" >&2
            return 1
            ;;
    esac
    mkdir -p "$2/boot/cncp"
    local role
    for role in kernel initrd; do
        [ ! -e "$1/$role" ] || cp "$1/$role" "$2/boot/cncp/$role"
    done
    rm -rf "$1"/root "$1"/kernel "$1"/initrd "$2/.cncp-stage"
}

# Say why an image could not be unpacked, in one line: why_not TREE
why_not() {
    df -P -m "$1" | awk 'END { if ($4 < 1) print "its slot of " $2 " MiB is too small for this image" }' >&2
    return 1
}

# Have an image know who it is, and how this disk is told what to boot: write_identity TREE IMAGE
write_identity() {
    local program session root=$1
    # A squashfs cannot be written to: the initrd copies this to the overlay whenever that is made anew.
    [ ! -e "$1/root.squashfs" ] || root=$1/identity
    mkdir -p "$root/etc/cncp/cidkid.d"
    echo "$node" > "$root/etc/hostname"
    for program in switch blancmange boot_next.sh grubenv.sh; do
        cp "/etc/cncp/cidkid.d/$program" "$root/etc/cncp/cidkid.d/$program"
    done
    (
        umask 077
        session=$(printf 'session %s' "$2" | hmac)
        printf '{"url": "%s", "fingerprint": "%s", "node": "%s", "image": "%s", "key": "%s"}\n' \
            "$(cat /etc/cncp/url)" "$(cat /etc/cncp/fingerprint)" "$node" "$2" "$session" > "$root/etc/cncp/cidkid.json"
    )
    sync
}

# Have this Blancmange's kernel and initramfs be on the disk, those of before until both have arrived: keep_blancmange OWN
keep_blancmange() {
    local name
    fetch_small /v1/blancmange/sums /tmp/sums
    fetch_small /v1/blancmange/sums.minisig /tmp/sums.minisig
    signed /tmp/sums /tmp/sums.minisig blancmange
    (cd "$1" && sha256sum -c -s /tmp/sums 2> /dev/null) && return
    mkdir -p "$1/new"
    for name in kernel initramfs; do
        fetch_small "/v1/blancmange/$name" "$1/new/$name"
    done
    (cd "$1/new" && sha256sum -c -s /tmp/sums) || fail "Blancmange itself has arrived damaged"
    sync
    for name in kernel initramfs; do
        mv "$1/new/$name" "$1/$name"
    done
}
