# The way to cidd. $cards is where the kernel has its network cards.
# shellcheck shell=dash

# Ask every card that has a link for an address, all at once, until cidd answers: it may be at any of them, and a switch
# may need a while until it lets a node's words through: network URL
network() {
    ip link set lo up
    until timeout 5 wget -q -O /dev/null "$1/v1/blancmange/sums" 2> /dev/null; do
        for card in "${cards:-/sys/class/net}"/*; do
            link=$card/carrier
            card=${card##*/}
            [ "$card" != lo ] || continue
            ip link set "$card" up
            [ "$(cat "$link" 2> /dev/null)" = 1 ] || continue
            # One of IPv6 a router may have given it, by which cidd cannot be reached.
            ip addr show dev "$card" scope global | grep -q 'inet ' ||
                udhcpc -q -n -f -t 4 -T 1 -i "$card" -s /etc/cncp/udhcpc.sh > /dev/null 2>&1 &
        done
        wait
    done
}
