# This part belongs to cncp and is written again by every `cncp up`; what stands below it is yours
# and wins. The settings are in cncp.json beside this file, the secrets in security/.
import json as _json
import os as _os
import socket as _socket
import sys as _sys

_profile = _os.path.dirname(_os.path.abspath(__file__))
with open(_os.path.join(_profile, "cncp.json")) as _stream:
    _cncp = _json.load(_stream)
with open(_os.path.join(_profile, "security", "cncp-identity.json")) as _stream:
    _identity = _json.load(_stream)

c = get_config()  # noqa: F821

# A cluster beside ours, with an id of its own (ipyparallel.Cluster makes one), has its own keys and ports.
_service = _os.environ.get("CNCP_SERVICE", "").startswith(f"controller {_os.getpid()} ")
_ids = [_os.environ.get("IPP_CLUSTER_ID", ""), *(word[13:] for word in _sys.argv if word.startswith("--cluster-id="))]

if not _service and any(_ids):
    c.IPController.enable_curve = _cncp["encryption"]
else:
    if not _service:
        with _socket.socket() as _probe:
            if _probe.connect_ex(("127.0.0.1", _identity["ports"]["internal"][0])) == 0:
                raise SystemExit("cncp keeps this cluster running: ipyparallel.Client(profile=...) connects to it")
    # Keys and ports are made once and stay: clients and engines find a restarted controller again.
    c.IPController.reuse_files = True
    c.IPController.restore_engines = True
    # Of the pinned ports these are the internal ones; the others stand in the connection files, and
    # naming them a second time would have the controller bind them twice.
    c.IPController.ports = _identity["ports"]["internal"]
    if _cncp["encryption"]:
        # Without pinned keys a restart would make new ones and every connection file would be stale.
        c.IPController.curve_publickey = _identity["curve_publickey"].encode("ascii")
        c.IPController.curve_secretkey = _identity["curve_secretkey"].encode("ascii")
        c.IPController.enable_curve = True
    # Beside encryption, messages stay signed with a key of their own.
    c.Session.key = _identity["key"].encode("ascii")
c.IPController.monitor_ip = "127.0.0.1"

# Registration completes on a heartbeat: a short period makes engines usable soon. The tolerance
# is periods times misses, so it is kept by scaling the misses.
c.HeartMonitor.period = _cncp["heartbeat"]
c.HeartMonitor.max_heartmonitor_misses = _cncp["heartmonitor_misses"]

c.IPController.db_class = _cncp["db_class"]
# One table for good: results can be collected after the controller was restarted.
c.SQLiteDB.location = _profile
c.SQLiteDB.filename = "tasks.db"
c.SQLiteDB.table = "tasks"
# Results in memory are a convenience, not an archive: a quarter of ipyparallel's limit.
c.DictDB.size_limit = 256 * 1024 * 1024
