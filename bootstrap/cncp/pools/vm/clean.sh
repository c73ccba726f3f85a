#!/bin/sh
# Run as root on a machine that is to be given away: takes out what is particular to it and to who
# has used it, and has the next one that starts from its disk make its own. The unit of the first boot
# comes on standard input. Nothing may be done on the machine afterwards but to switch it off.
set -eu

cat > /etc/systemd/system/cncp-first-boot.service
systemctl enable --quiet cncp-first-boot.service
touch /var/lib/cncp-first-boot

# What writes logs is stopped first, or it would write on.
systemctl stop --quiet systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket \
    systemd-journald.service cron.service 2>/dev/null || true
rm -rf /var/log/journal/* /run/log/journal/*
find /var/log -type f -exec truncate -s 0 {} +

# Who it was: cloud-init begins anew, and sshd has no keys until it does.
cloud-init clean --logs
rm -rf /var/lib/cloud
rm -f /etc/ssh/ssh_host_* /etc/systemd/network/10-cloud-init-* /etc/hostname
rm -f /var/lib/systemd/random-seed /var/lib/systemd/credential.secret /var/lib/dbus/machine-id
rm -rf /var/lib/systemd/timers/* /var/lib/dhcp/* /run/systemd/netif/leases/*
: > /etc/machine-id

# Who has used it.
for home in /root /home/*; do
    rm -rf "$home/.ssh" "$home/.cache" "$home/.ipython" "$home/.local/state"
    rm -f "$home"/.*_history "$home/.wget-hsts" "$home/.lesshst" "$home/.viminfo"
done
rm -rf /tmp/* /var/tmp/*
find /var/cache/apt /var/lib/apt/lists -type f -delete
sync
