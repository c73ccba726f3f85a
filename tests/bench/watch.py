"""Peak memory of what controls a cluster from the master, and of its ssh processes."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

from tests.bench.farm import SERVICES, line, processes
from tests.bench.processes import memory
from tests.lab.host import Host

_STEP = 0.02  # seconds between two looks: commands over ssh are over in little more

_OTHERS = (*SERVICES, "supervisord", "systemd", "sd-pam", "sshd", "tests.bench.clock")
"""On command lines of what serves, or measures, and does not control."""


class Watch:
    """While it is open, looks at what was started on a host since. A context manager.

    ``peak`` is the most that all of it had at once, in MB of proportional set size, and ``ssh`` what
    of that was in processes of ssh. Looking takes time: what is watched is not timed.
    """

    def __init__(self, host: Host) -> None:
        self.peak = 0.0
        self.ssh = 0.0
        self._host = host
        self._before = {process.pid for process in processes(host)}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:  # noqa: PYI034  # no subclasses
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(_STEP):
            ours: dict[bool, list[psutil.Process]] = {True: [], False: []}
            for process in processes(self._host):
                words = line(process)
                if process.pid not in self._before and words and not any(other in words for other in _OTHERS):
                    ours[words.startswith(("ssh", "scp", "/usr/bin/ssh"))].append(process)
            ssh = memory(ours[True])
            total = ssh + memory(ours[False])
            if total > self.peak:
                self.peak, self.ssh = total, ssh
