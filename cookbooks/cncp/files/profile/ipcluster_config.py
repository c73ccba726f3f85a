# This part belongs to cncp and is written again by every `cncp up`; what stands below it is yours
# and wins. It is for plain ipyparallel: `ipcluster start --profile=...` and ipyparallel.Cluster
# with this profile then start as many engines as cncp does, without waiting between them.
import importlib.util as _util
import json as _json
import os as _os

_profile = _os.path.dirname(_os.path.abspath(__file__))
with open(_os.path.join(_profile, "cncp.json")) as _stream:
    _cncp = _json.load(_stream)

c = get_config()  # noqa: F821

c.Cluster.n = _cncp["engines"]
c.Cluster.delay = 0
if _util.find_spec("cncp"):
    # It refuses to start what cncp keeps running.
    c.Cluster.controller_launcher_class = "cncp.remote.Launcher"
