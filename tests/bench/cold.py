"""Point `cold`: from nothing to two engines that answer, and where the time goes."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench import processes, usable
from tests.bench.results import Row
from tests.bench.site import BenchError, Ipcluster, Site, finished, python, site
from tests.bench.start import Options

_ENGINES = 2
_AIM = 0.5
_POINT = "cold"


def cold(options: Options) -> list[Row]:
    """Measure whole installations, each in a new home with empty caches."""
    total = Row(_POINT, f"{_ENGINES} engines usable", "s", "venv, pip, ipcluster", _AIM)
    phases: dict[str, Row] = {}
    for _ in range(options.repetitions):
        for side, work in (("ours", _ours), ("theirs", _theirs)):
            total.busy.append(processes.wait_for_quiet(options.patience))
            with site() as place:
                taken = work(place)
            getattr(total, side).append(sum(taken.values()))
            for name, seconds in taken.items():
                getattr(phases.setdefault(name, Row(_POINT, f"- {name}", "s")), side).append(seconds)
    return [total, *phases.values()]


class _Phases:
    """When a program said what: its lines of progress begin phases."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._said: list[tuple[float, str]] = [(time.monotonic(), "checks")]
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._said.append((time.monotonic(), line))

    def everything(self) -> str:
        """Wait for the program's end and return what it said."""
        self._reader.join()
        return "".join(line for _, line in self._said[1:])

    def until(self, end: float) -> dict[str, float]:
        """Return the seconds of every phase that began before ``end``."""
        marks = [(at, _phase(line)) for at, line in self._said if at < end]
        marks = [(at, name) for at, name in marks if name]
        found: dict[str, float] = {}
        for (at, name), (following, _) in zip(marks, [*marks[1:], (end, "")], strict=True):
            found[name] = found.get(name, 0) + following - at
        return found


def _phase(line: str) -> str:
    """Return the phase that a line begins, "" for one that is only remarked in passing."""
    if line == "checks":
        return line
    if line.strip().startswith("installed in"):
        return "handing over to cncp up"
    match = re.match(r"==> (.+)", line)
    # Counts, names and paths differ from run to run.
    return re.split(r" with|:| \d| controller| until", match[1])[0] if match else ""


def _ours(place: Site) -> dict[str, float]:
    process = place.started(place.baremetal(_ENGINES))
    phases = _Phases(process)
    try:
        usable.wait(place.connection_file, _ENGINES)
        end = time.monotonic()
    except usable.NotUsable as error:
        process.terminate()
        raise BenchError(f"baremetal.sh: {error}:\n{phases.everything()}") from None
    finished(process, phases.everything())
    return phases.until(end)


def _theirs(place: Site) -> dict[str, float]:
    venv = place.folder / "venv"
    cluster = Ipcluster(venv / "bin" / "ipcluster", place)
    install = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "ipyparallel"]
    taken = {
        "python3 -m venv": _timed(lambda: place.run([python(place.environment), "-m", "venv", str(venv)])),
        "pip install ipyparallel": _timed(lambda: place.run(install)),
    }
    return {**taken, "ipcluster start": _timed(lambda: _start(cluster, place.folder))}


def _start(cluster: Ipcluster, folder: Path) -> None:
    process = cluster.start(_ENGINES)
    try:
        usable.wait(cluster.connection_file, _ENGINES)
    except usable.NotUsable as error:
        processes.end(folder)
        raise BenchError(f"ipcluster start: {error}:\n{process.communicate()[0]}") from None


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
