"""Point `noop`: running everything again where nothing is to be done."""

from __future__ import annotations

import time
from pathlib import Path

from cncp.files import read_record, to_json
from cncp.machine.converge import chef
from cncp.machine.node import installed
from tests.bench import processes
from tests.bench.results import Row
from tests.bench.site import BenchError, Site
from tests.bench.start import Options

_AIM = 1.0  # seconds
_ENGINES = 2


def noop(site: Site, options: Options) -> list[Row]:
    """Measure `baremetal.sh` and `cncp up` on a converged machine, beside Chef's run that changes nothing."""
    script = site.baremetal(_ENGINES)
    site.run(script)
    program = chef.find()
    rows = [
        Row("noop", "bash baremetal.sh", "s", "chef-solo, our cookbook", _AIM, absolute=True),
        Row("noop", "cncp up", "s", "chef-solo, no cookbook", _AIM, absolute=True),
    ]
    runs = None if program is None else _Chef(site, program)
    skipped = "skipped: no chef-solo" if runs is None else runs.refusal()
    for row in rows:
        row.skipped = skipped
    for _ in range(options.repetitions):
        for row, command, full in ((rows[0], script, True), (rows[1], site.cncp("up"), False)):
            row.busy.append(processes.wait_for_quiet(options.patience))
            row.ours.append(_timed(site, command))
            if runs is not None and not skipped:
                row.theirs.append(_timed(site, runs.command(full=full)))
                if full:
                    runs.check()
    return rows


def _timed(site: Site, command: list[str]) -> float:
    began = time.monotonic()
    site.run(command)
    return time.monotonic() - began


class _Chef:
    """Chef over what cncp has installed: the same attributes, and so nothing to do."""

    def __init__(self, site: Site, program: Path) -> None:
        self._site = site
        self._program = program
        self._folder = site.folder / "chef"
        self._folder.mkdir()
        self._node = installed(site.cncp_home)
        given = chef.attributes(self._node)
        (self._folder / "solo.rb").write_text(chef.configuration(self._folder))
        (self._folder / "full.json").write_bytes(to_json(given))
        (self._folder / "empty.json").write_bytes(to_json({"run_list": []}))

    def command(self, *, full: bool) -> list[str]:
        """Return the command of a run with our cookbook, or with none."""
        attributes = self._folder / ("full.json" if full else "empty.json")
        words = [str(self._program), "-c", str(self._folder / "solo.rb"), "-j", str(attributes), "-F", "null"]
        return [*words, *(["-o", f"role[{self._node.settings.role}]"] if full else [])]

    def refusal(self) -> str:
        """Run it once, so that caches are full and nothing is left to do; say why it does not run."""
        try:
            self._site.run(self.command(full=True))
        except BenchError as error:
            return f"skipped: chef-solo failed: {str(error).splitlines()[-1]}"
        return ""

    def check(self) -> None:
        """Raise BenchError where the run did something: then it was no comparison."""
        report = read_record(self._folder / "report.json", chef.Report)
        if report is None or report.updated:
            raise BenchError(f"Chef had something to do: {report}")
