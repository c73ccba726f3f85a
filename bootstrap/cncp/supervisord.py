"""``python -m cncp.remote supervisord -c FILE``: a supervisord for any home, that SIGHUP does not restart.

It is a process of the session that it was started in. At shutdown systemd sends those SIGTERM and
SIGHUP at once (systemd.kill(5), SendSIGHUP=); Python runs the handler of SIGHUP first, for which
supervisord starts everything anew, and SIGTERM is forgotten: the machine would wait 90 s for it.

The files that FILE names are below HOME/run, and FILE is in HOME/supervisor.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

from supervisor import options, supervisord

_OPEN_FILES = 65536


def _programs(folder: Path) -> list[str]:
    """Return what is included: supervisord would take brackets in the folder's name for a pattern."""
    return [str(path) for path in sorted((folder / "programs").glob("*.conf"))]


def _prepare(configuration: Path) -> None:
    os.chdir(configuration.parent.parent / "run")
    options.glob = SimpleNamespace(glob=lambda _: _programs(configuration.parent))
    # It has several pipes for each program.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    # A mask, since supervisord installs its own handlers. Programs inherit it: `cncp.serve` lifts it again.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])


def main() -> None:
    """Be supervisord."""
    _prepare(Path(sys.argv[sys.argv.index("-c") + 1]))
    supervisord.main()


if __name__ == "__main__":
    # As crontabs of earlier versions have it.
    main()
