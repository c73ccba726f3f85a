# shellcheck shell=dash disable=SC2034,SC2154  # provision.sh has set and reads what stands for the node
# What Blancmange tells cidd, signed with the key of this boot. No program is given a secret as an argument: what handles
# one is built into the shell.

serial=0

# Turn hexadecimal, each byte XORed with a number, into what printf prints as bytes, in $escaped: escape HEXADECIMAL NUMBER
escape() {
    local rest=$1 byte
    escaped=
    while [ -n "$rest" ]; do
        byte=$((0x${rest%"${rest#??}"} ^ $2))
        escaped="$escaped\\$((byte >> 6))$((byte >> 3 & 7))$((byte & 7))"
        rest=${rest#??}
    done
}

# Have hmac use a key from now on, text of up to 64 bytes: use_key KEY
use_key() {
    local filled
    filled=$(printf '%s' "$1" | xxd -p -c 64)
    while [ "${#filled}" -lt 128 ]; do
        filled="${filled}00"
    done
    escape "$filled" 54
    inner_pad=$escaped
    escape "$filled" 92
    outer_pad=$escaped
}

# Print the HMAC (RFC 2104, SHA-256, hexadecimal) of the standard input.
# shellcheck disable=SC2059  # the bytes are the format: %b would end at a 0
hmac() {
    local inner outer
    inner=$({ printf "$inner_pad" && cat; } | sha256sum)
    escape "${inner%% *}" 0
    outer=$({ printf "$outer_pad" && printf "$escaped"; } | sha256sum)
    echo "${outer%% *}"
}

# Print a member of an answer of one line that has no object in it: member NAME ANSWER
member() {
    printf '%s\n' "$2" | sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p"
}

# Tell cidd, again until it has heard; its answer is in $verb, $image and $seconds. It fails if cidd wants no such report.
# report '{"state": ...}'
report() {
    local target=/v1/nodes/$node/report signature answer
    while :; do
        serial=$((serial + 1))
        signature=$(printf 'POST\n%s\n%s\n%s' "$target" "$serial" "$1" | hmac)
        if answer=$(timeout 30 wget -q -O - --header "X-Cncp-Serial: $serial" --header "X-Cncp-Key: boot" \
            --header "X-Cncp-Signature: $signature" --header "Content-Type: application/json" \
            --post-data "$1" "$cidd$target" 2> /tmp/said); then
            verb=$(member verb "$answer") image=$(member image "$answer") seconds=$(member seconds "$answer")
            return
        fi
        if grep -q ' 4[0-9][0-9] ' /tmp/said; then
            echo "cidd: $(cat /tmp/said)"
            return 1
        fi
        sleep 1
    done
}

# Tell cidd the state, and have it name an image: state NAME [MORE MEMBERS]
state() {
    echo "$1"
    report "{\"state\": \"$1\"${2:+, $2}}"
    [ "$verb" = install ] || [ "$verb" = wait ]
}
