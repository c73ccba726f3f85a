#!/bin/sh
# Run by Vagrant in a machine, as its user: the main job, with the code that Vagrant has brought.
set -eu

# A packaged machine is making its own cluster just now; both at once would only wait for one another.
if [ -e /var/lib/cncp-first-boot ]; then
    sudo systemctl start cncp-first-boot.service || echo 'its first boot made no cluster: doing it now' >&2
fi
exec bash /opt/cncp/baremetal.sh "$@"
