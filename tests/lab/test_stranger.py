"""An account as strangers have them: tcsh, the C locale, a checkout in ~/ñ, another Python's packages on PYTHONPATH."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from .host import Host
from .site import Site, until
from .sites import MakeSite

TASK = """
import ipyparallel, sys
with ipyparallel.Client(profile="cncp", timeout=20) as client:
    print(sum(client.load_balanced_view().map_sync(abs, range(-4, 0))), *sys.argv[1:])
"""

ENDLESS = """
import ipyparallel, time
client = ipyparallel.Client(profile="cncp", timeout=20)
result = client[:].apply_async(time.sleep, 600)
print("begun", flush=True)
try:
    result.get(timeout=120)
except ipyparallel.error.CompositeError as error:
    print(sorted({ename for ename, *_ in error.elist}))
"""

ENGINES = ("engine-0", "engine-1")

NOT_OURS = "raise ImportError('a module of another Python')\n"


@pytest.fixture(scope="module")
def stranger(make_host: Callable[..., Host], make_site: MakeSite) -> Site:
    """Give an ordinary user whose login shell is tcsh, with the checkout in a folder that is not ASCII."""
    host = make_host("stranger", "bookworm", ("cron", "python3-venv", "tcsh"), users=("bob",))
    host.boot()
    host.exec(["usermod", "--shell", "/bin/tcsh", "bob"])
    site = make_site(host, "bob")
    site.work = f"{site.home}/ñ"
    site.check_out()
    for name in ("dataclasses.py", "zmq/__init__.py", "sitecustomize.py"):
        host.write(f"{site.home}/old/{name}", NOT_OURS)
    for name, text in (("task.py", TASK), ("endless.py", ENDLESS)):
        host.write(f"{site.home}/scripts/{name}", text)
    # What tcsh reads at every start, and says.
    host.write(f"{site.home}/.cshrc", f'setenv LC_ALL C\nsetenv PYTHONPATH {site.home}/old\necho "hello from .cshrc"\n')
    host.exec(["chown", "-R", "bob", site.home])
    return site


def test_from_install_to_uninstall(stranger: Site) -> None:
    """All of it works there: an installation, a task, an interrupt; an uninstall leaves what was there before."""
    before = stranger.tree()
    done = stranger.baremetal("--engines=2")
    assert "2/2 engines answer" in done.stdout
    said = stranger.cncp("run", f"{stranger.home}/scripts/task.py", "an argument", "-x").stdout
    assert said.splitlines()[-1] == "10 an argument -x"
    endless = [*stranger.host.ssh_command("bob"), ".local/bin/cncp", "run", "scripts/endless.py"]
    with subprocess.Popen(endless, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as client:

        def busy() -> bool:
            # What tcsh says comes before it.
            shown = json.loads(stranger.cncp("status", "--json").stdout.partition("\n")[2])
            states = {service["name"]: service["state"] for service in shown}
            return states.items() >= dict.fromkeys(ENGINES, "busy").items()

        until(busy, 60, "both engines at work")
        stranger.cncp("interrupt", "--all")
        assert client.communicate(timeout=60)[0].splitlines()[-1] == "['KeyboardInterrupt']"
    assert stranger.cncp("check").stdout.splitlines()[-1] == "all is well"
    stranger.cncp("uninstall")
    assert stranger.tree() == before
