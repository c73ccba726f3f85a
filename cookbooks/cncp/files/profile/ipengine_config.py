# This part belongs to cncp and is written again by every `cncp up`; what stands below it is yours
# and wins. The settings are in cncp.json beside this file.
import json as _json
import os as _os

_profile = _os.path.dirname(_os.path.abspath(__file__))
with open(_os.path.join(_profile, "cncp.json")) as _stream:
    _cncp = _json.load(_stream)

c = get_config()  # noqa: F821

# How many silent checks of the controller make an engine give up; the tolerance in other words.
c.IPEngine.max_heartbeat_misses = _cncp["engine_misses"]
# Registration waits for a controller that is still starting.
c.IPEngine.timeout = _cncp["tolerance"]
