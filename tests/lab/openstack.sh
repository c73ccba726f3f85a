#!/bin/bash
# Configures and starts a one-host OpenStack: openstack.sh ADDRESS. Ends when nova has a compute service.
set -euo pipefail
address=$1
database=mysql+pymysql://os:os@127.0.0.1

step() { echo "$(cut -d' ' -f1 /proc/uptime) $*"; }
await() { # await SECONDS COMMAND...
    local left=$1
    shift
    until "$@" >/dev/null 2>&1; do
        [ $((left--)) -gt 0 ] || { echo "no end of: $*" >&2; exit 1; }
        sleep 1
    done
}
ini() { # ini FILE SECTION KEY=VALUE...
    local file=$1 section=$2 pair
    shift 2
    for pair in "$@"; do crudini --set "$file" "$section" "${pair%%=*}" "${pair#*=}"; done
}
as() { # as ACCOUNT COMMAND...
    local account=$1
    shift
    runuser -u "$account" -- "$@"
}

login=(auth_type=password "auth_url=http://$address:5000/v3" username=admin password=adm project_name=admin
    user_domain_name=Default project_domain_name=Default)

step databases
await 60 mysqladmin ping
for name in keystone placement glance nova nova_api nova_cell0; do
    mysql -e "create database $name character set utf8;
        grant all on $name.* to 'os'@'localhost' identified by 'os'; grant all on $name.* to 'os'@'127.0.0.1' identified by 'os'"
done
await 60 rabbitmqctl status
rabbitmqctl -q add_user os os
rabbitmqctl -q set_permissions os '.*' '.*' '.*'

step files
ini /etc/keystone/keystone.conf database connection=$database/keystone
ini /etc/keystone/keystone.conf token provider=fernet
ini /etc/keystone/keystone.conf cache enabled=false
ini /etc/placement/placement.conf placement_database connection=$database/placement
ini /etc/placement/placement.conf api auth_strategy=keystone
ini /etc/glance/glance-api.conf database connection=$database/glance
ini /etc/glance/glance-api.conf paste_deploy flavor=keystone
ini /etc/glance/glance-api.conf glance_store stores=file default_store=file filesystem_store_datadir=/var/lib/glance/images/
crudini --del /etc/glance/glance-api.conf DEFAULT enabled_backends
nova=/etc/nova/nova.conf
ini $nova database connection=$database/nova
ini $nova api_database connection=$database/nova_api
ini $nova DEFAULT transport_url=rabbit://os:os@127.0.0.1:5672/ my_ip=127.0.0.1 osapi_compute_workers=1
ini $nova api auth_strategy=keystone
ini $nova glance "api_servers=http://$address:9292"
ini $nova conductor workers=1
ini $nova scheduler workers=1 discover_hosts_in_cells_interval=5
ini $nova oslo_concurrency lock_path=/var/lib/nova/tmp
ini $nova quota instances=10 cores=12 ram=8192
for section in placement neutron service_user; do ini $nova $section "${login[@]}" region_name=RegionOne; done
ini $nova service_user send_service_user_token=false
for file in $nova /etc/nova/nova-compute.conf; do ini "$file" DEFAULT compute_driver=fake.FakeDriver; done
for file in /etc/placement/placement.conf /etc/glance/glance-api.conf $nova; do
    ini "$file" keystone_authtoken "${login[@]}" "www_authenticate_uri=http://$address:5000/v3"
    crudini --del "$file" keystone_authtoken memcached_servers
    crudini --del "$file" keystone_authtoken region_name
done
sed -i 's/^\(processes\|workers\).*/\1 = 1/' /etc/*/*-uwsgi.ini

# As much of Neutron as nova asks for where servers have no network: empty lists.
cat >/srv/networks.py <<'PY'
import http.server, json


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        last = self.path.split("?")[0].rstrip("/").split("/")[-1].removesuffix(".json")
        link = {"rel": "self", "href": f"http://{self.headers['Host']}/v2.0/"}
        versions = {"versions": [{"id": "v2.0", "status": "CURRENT", "links": [link]}]}
        raw = json.dumps(versions if not last else {last.replace("-", "_"): []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


http.server.ThreadingHTTPServer(("", 9696), Handler).serve_forever()
PY
systemd-run -q --unit=networks python3 /srv/networks.py

# Swift: https://docs.openstack.org/swift/latest/deployment_guide.html
swift=/etc/swift
cat >$swift/swift.conf <<'INI'
[swift-hash]
swift_hash_path_suffix = lab
swift_hash_path_prefix = lab
[storage-policy:0]
name = gold
default = yes
INI
port=6200
for kind in object container account; do
    swift-ring-builder $swift/$kind.builder create 8 3 1 >/dev/null
    for disk in d1 d2 d3; do
        mkdir -p /srv/node/$disk
        swift-ring-builder $swift/$kind.builder add --region 1 --zone 1 --ip 127.0.0.1 --port $port --device $disk \
            --weight 1 >/dev/null
    done
    swift-ring-builder $swift/$kind.builder rebalance >/dev/null
    server=$swift/lab-$kind.conf
    : >$server
    ini $server DEFAULT bind_ip=127.0.0.1 bind_port=$port workers=0 user=root mount_check=false devices=/srv/node \
        fallocate_reserve=0
    ini $server pipeline:main pipeline=$kind-server
    ini $server app:$kind-server use=egg:swift#$kind
    port=$((port + 1))
done
proxy=$swift/lab-proxy.conf
: >$proxy
ini $proxy DEFAULT bind_port=8080 workers=0 user=root
# tempurl before what asks who it is; symlink in front of the proxy, which does not start without it.
pipeline=(catch_errors gatekeeper cache listing_formats tempurl authtoken keystoneauth copy slo dlo versioned_writes
    symlink)
ini $proxy pipeline:main "pipeline=${pipeline[*]} proxy-server"
ini $proxy app:proxy-server use=egg:swift#proxy account_autocreate=true
for filter in catch_errors gatekeeper listing_formats tempurl copy slo dlo versioned_writes symlink; do
    ini $proxy filter:$filter use=egg:swift#$filter
done
# As newer ones have it by themselves.
ini $proxy filter:tempurl 'allowed_digests=sha256 sha512'
ini $proxy filter:cache use=egg:swift#memcache memcache_servers=127.0.0.1:11211
ini $proxy filter:keystoneauth use=egg:swift#keystoneauth operator_roles=admin,swiftoperator
ini $proxy filter:authtoken paste.filter_factory=keystonemiddleware.auth_token:filter_factory "${login[@]}" \
    "www_authenticate_uri=http://$address:5000/v3" delay_auth_decision=true

step schemas
{
    as keystone keystone-manage db_sync
    keystone-manage fernet_setup --keystone-user keystone --keystone-group keystone
    keystone-manage credential_setup --keystone-user keystone --keystone-group keystone
    url=http://$address:5000/v3/
    keystone-manage bootstrap --bootstrap-password adm --bootstrap-region-id RegionOne \
        --bootstrap-public-url "$url" --bootstrap-internal-url "$url" --bootstrap-admin-url "$url"
    systemctl start keystone
} &
{
    as placement placement-manage db sync
    as glance glance-manage db_sync
} &
{
    as nova nova-manage api_db sync
    as nova nova-manage cell_v2 map_cell0 --database_connection $database/nova_cell0
    as nova nova-manage cell_v2 create_cell --name one
    as nova nova-manage db sync
} &
wait

step catalogue
await 60 curl -sf "http://$address:5000/v3"
export OS_AUTH_URL=http://$address:5000/v3 OS_USERNAME=admin OS_PASSWORD=adm OS_PROJECT_NAME=admin \
    OS_USER_DOMAIN_NAME=Default OS_PROJECT_DOMAIN_NAME=Default OS_REGION_NAME=RegionOne
python3 - "$address" <<'PY'
import sys

import openstack

cloud = openstack.connect()
for kind, name, url in (
    ("compute", "nova", "8774/v2.1"),
    ("placement", "placement", "8778"),
    ("image", "glance", "9292"),
    ("network", "neutron", "9696"),  # nova looks for this name
    ("object-store", "swift", "8080/v1/AUTH_$(project_id)s"),
):
    service = cloud.identity.create_service(type=kind, name=name)
    for interface in ("public", "internal", "admin"):
        cloud.identity.create_endpoint(
            service_id=service.id, interface=interface, url=f"http://{sys.argv[1]}:{url}", region_id="RegionOne"
        )
guest = cloud.identity.create_user(name="guest", password="adm", domain_id="default")
cloud.identity.assign_project_role_to_user(
    cloud.identity.find_project("admin"), guest, cloud.identity.find_role("reader")
)
PY

step services
systemctl start placement-api glance-api nova-conductor nova-scheduler nova-api nova-compute
for kind in object container account proxy; do
    systemd-run -q --unit=swift-$kind-lab swift-$kind-server $swift/lab-$kind.conf
done
for port in 8774 9292 8778 8080; do await 90 curl -s -o /dev/null "http://$address:$port/"; done
python3 - <<'PY'
import time

import openstack

cloud = openstack.connect()
cloud.compute.create_flavor(name="tiny", ram=512, disk=1, vcpus=1)
cloud.compute.create_flavor(name="huge", ram=4096, disk=999999, vcpus=2)
cloud.image.create_image(name="debian-12", disk_format="raw", container_format="bare", data=b"x")
for _ in range(90):
    if any(service.binary == "nova-compute" and service.state == "up" for service in cloud.compute.services()):
        break
    time.sleep(1)
PY
nova-manage cell_v2 discover_hosts
step "compute up"
