"""profile.*: handing a cluster's description on, and taking one over."""

from __future__ import annotations

import os
from pathlib import Path

from invoke.context import Context

from cncp import accounts
from cncp.config import ipyparallel_profile, profile_export, sources, writer
from cncp.console import Console
from cncp.errors import UsageError
from cncp.files import to_json
from cncp.tasks.options import CLUSTER_FILE
from cncp.tasks.task import command

_FORCE = {"force": "replace what is there"}


@command({"output": "file to write", **CLUSTER_FILE, **_FORCE})
def export(context: Context, output: str = "cncp-profile.json", file: str | None = None, force: bool = False) -> None:
    """Write settings and hosts to one file for a colleague: no secrets, no paths, no code."""
    console = Console()
    account = accounts.account(os.environ)
    home = accounts.home(os.environ)
    former = sources.kept(home)
    values, hosts = sources.read(sources.find_file(file, os.environ, former, Path.cwd()))
    settings = {**former.settings, **values}
    profile = accounts.ipython_folder(os.environ, account) / f"profile_{settings.get('profile', 'cncp')}"
    handed = profile_export.export(settings, hosts, profile, Path(account.home))
    writer.save({Path(output): to_json(handed.document).decode()}, force=force)
    for note in handed.notes:
        console.note(f"left out: {note}")
    console.say(output)
    console.say(f"next, for your colleague: cncp profile.import {Path(output).name}")


@command(
    {
        "source": "file of profile.export, ipcluster_config.py, or folder of an IPython profile",
        "output": "file to write",
    }
    | _FORCE,
    positional=["source"],
    name="import",
)
def import_(context: Context, source: str, output: str = profile_export.CLUSTER, force: bool = False) -> None:
    """Make a cluster.toml from what profile.export wrote, or from a profile of plain ipyparallel."""
    console = Console()
    path, target = Path(source), Path(output)
    if target.suffix != ".toml":
        raise UsageError(f"--output {output!r} is not possible", "the name must end with .toml")
    notes: list[str] = []
    if path.is_dir() or path.suffix == ".py":
        files = {profile_export.CLUSTER: _of_ipyparallel(path, notes)}
    else:
        files = profile_export.load(path)
    places = {target if name == profile_export.CLUSTER else target.parent / name: text for name, text in files.items()}
    writer.save(places, force=force)
    for note in notes:
        console.note(note)
    for placed in places:
        console.say(str(placed))
    console.say(f"next: look through it, then: cncp up --file {target}")


def _of_ipyparallel(path: Path, notes: list[str]) -> str:
    found = ipyparallel_profile.read(path)
    made = ipyparallel_profile.settings(found, found.notes)
    notes += found.notes
    head = [f"From {path.name}; its lines that follow here have no counterpart."] if found.notes else []
    lines = writer.lines(made, ipyparallel_profile.with_pools(found), [*head, *found.notes])
    return writer.checked("".join(f"{line}\n" for line in lines))


__all__ = ["export", "import_"]
