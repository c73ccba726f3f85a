#!/bin/sh
# What udhcpc calls with what a DHCP server has said.
# shellcheck shell=dash disable=SC2154
case $1 in
    bound | renew)
        ip addr flush dev "$interface"
        ip addr add "$ip/${mask:-24}" dev "$interface"
        for gateway in ${router:-}; do
            ip route add default via "$gateway" dev "$interface" && break
        done
        ;;
esac
