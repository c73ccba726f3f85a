#!/bin/sh
# Makes this instance engines of an IPython Parallel cluster, at its first boot: cncp.
# What is secret in it opens nothing any more once its batch has joined.
set -eu
umask 077
export HOME=/root CNCP_USER=cncp CNCP_CHEF_INSTALL=no
at=/var/lib/cncp-boot log=/var/log/cncp-boot.log run=/home/cncp/.local/share/cncp/run
mkdir -p $at && cd $at
exec >>$log 2>&1
say() { echo "cncp: $*" | tee /dev/console; }
end() {
    trap - EXIT
    tail -n 12 $log | sed 's/^/| /' >/dev/console
    say "failed: $1; this instance ends in 5 minutes"
    wipe
    shutdown -h +5
    exit 1
}
wipe() {
    cd /
    rm -rf $at /var/lib/cloud/instance/user-data.txt* /var/lib/cloud/instance/scripts /var/lib/cloud/instance/obj.pkl \
        /var/lib/cloud/instance/cloud-config.txt /var/lib/cloud/seed/nocloud*/user-data
}
unit() { printf '%b' "$2" >/etc/systemd/system/"$1" && systemctl enable -q --now "$1"; }
trap 'end "see $log"' EXIT
cat >seed.json <<'SEED'
@SEED@
SEED
say fetching
# What an instance is told, and given to call its cloud with, is for root alone.
unit cncp-metadata.service '[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=ip rule add uidrange 1-4294967294 to 169.254.169.254 prohibit\nExecStart=-ip -6 rule add uidrange 1-4294967294 to fd00:ec2::254 prohibit\n[Install]\nWantedBy=multi-user.target\n' ||
    say "every account can ask for metadata here"
# The account marks that its cluster is gone for good, and root sees it.
printf '[Service]\nType=oneshot\nExecStart=systemctl poweroff\n' >/etc/systemd/system/cncp-end.service
unit cncp-end.path "[Path]\nPathExists=$run/power-off\n[Install]\nWantedBy=multi-user.target\n"
id cncp >/dev/null || useradd --create-home --shell /bin/bash cncp
# An image of vm.package has it, as one that may do all, and would make a cluster of its own.
rm -f /var/lib/cncp-first-boot
sed -i '/^cncp /d' /etc/sudoers.d/* || :
@MORE@
python3 - <<'PY' || end "the code could not be fetched"
import hashlib, json, os, random, ssl, time, urllib.request
seed = json.load(open("seed.json"))
# Whoever serves it, or an image of vm.package that has it: it is what its sum says.
here, context, wait = "/var/lib/cncp-image/cncp.tar", ssl._create_unverified_context(), 1
data = open(here, "rb").read() if os.path.exists(here) else b""
while hashlib.sha256(data).hexdigest() != seed["sha256"]:
    try:
        data = urllib.request.urlopen(seed["bundle"].partition("#")[0], timeout=60, context=context).read()
        if hashlib.sha256(data).hexdigest() == seed["sha256"]:
            break
        why = "its sum is wrong"
    except OSError as error:
        why = str(error)
    print("waiting:", why, flush=True)
    if time.time() > seed["deadline"]:
        raise SystemExit(why)
    time.sleep(wait * random.uniform(0.5, 1.5))
    wait = min(2 * wait, 30)
open("cncp.tar", "wb").write(data)
PY
tar -xOf cncp.tar code/baremetal.sh >baremetal.sh || end "its code has no baremetal.sh"
chmod 755 . && chmod 644 cncp.tar
say installing
bash baremetal.sh --offline cncp.tar --join - <seed.json || end "it could not join"
say joined
trap - EXIT
wipe
