"""baremetal.sh as it is given away: its help, made from the table of settings, and its stamps."""

from __future__ import annotations

import re
import shlex
import textwrap
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from cncp.config.settings import SETTINGS
from cncp.config.sources import SOURCE, STATIC
from cncp.config.variables import OTHER_VARIABLES
from cncp.errors import CncpError, UsageError
from cncp.files import write_atomic
from cncp.records import read

SCRIPT = SOURCE / "baremetal.sh"

_OTHERS = (
    ("--file FILE", "cluster.toml to read; without it the one in this folder, or the one of the last run", "CNCP_FILE"),
    ("--join FILE|-", "join the cluster elsewhere that this seed of cncp invite is of; - reads standard input", ""),
    ("--offline FILE", "bundle of cncp bundle.make to install from; no network is used", "CNCP_OFFLINE"),
    ("--offline-digest SHA256", "what bundle.make said of the bundle; any other is refused", "CNCP_OFFLINE_DIGEST"),
    ("--python PATH|3.N", "Python to build the virtualenv with; 3.10 or newer", "CNCP_PYTHON"),
    ("--json", "print the result as JSON", "CNCP_JSON"),
    ("--quiet", "print no progress", "CNCP_QUIET"),
    ("--verbose", "say how long each phase takes", "CNCP_VERBOSE"),
    ("--debug", "show each command that is run, where, for how long and how it ended", "CNCP_DEBUG"),
    ("--forget", "leave out what earlier command lines said", "CNCP_FORGET"),
    ("--wait SECONDS", "seconds to wait for engines that are busy, where they have to be restarted", "CNCP_WAIT"),
    ("--force", "go on although engines are busy; their tasks are lost", "CNCP_FORCE"),
    ("--install-only", "end when the virtualenv is there; start nothing", "CNCP_INSTALL_ONLY"),
)
"""Options that are no settings of the cluster, with their variables."""


def options() -> str:
    """Return the text about options and variables in `baremetal.sh --help`."""
    defaults = read(dict[str, object], (STATIC / "defaults.json").read_bytes(), "defaults.json")
    lines = ["Settings of the cluster: option, variable, default."]
    for setting in SETTINGS:
        default = defaults[setting.key]
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        lines += _entry(f"{setting.flag} {setting.values}", setting.help, f"{setting.variable}, default {shown}")
    lines += ["", "Of this run: option, variable."]
    for flag, text, variable in _OTHERS:
        lines += _entry(flag, text, variable + ("" if " " in flag else "=true"))
    lines += ["", "Variables without an option:"]
    named = {variable for _, _, variable in _OTHERS}
    for variable, text in sorted(OTHER_VARIABLES.items()):
        if variable not in named:
            lines += _entry(variable, text, "")
    lines += [
        "",
        "Exit codes: 0 done, 1 failed, 2 command line or configuration, 4 this machine lacks something.",
    ]
    return "".join(f"{line}\n" for line in lines)


def _entry(heading: str, text: str, origin: str) -> Iterator[str]:
    yield f"  {heading}"
    yield from textwrap.wrap(text, 88, initial_indent=" " * 8, subsequent_indent=" " * 8, break_on_hyphens=False)
    if origin:
        yield f"        {origin}"


def with_options(script: str) -> str:
    """Return a baremetal.sh with the text about its options brought up to date."""
    made, count = re.subn(
        r"(<<'OPTIONS'\n).*?(^OPTIONS\n)",
        lambda match: match[1] + options() + match[2],
        script,
        flags=re.DOTALL | re.MULTILINE,
    )
    if count != 1:
        raise CncpError(f"{SCRIPT} has no place for the options", "get it again from the repository")
    return made


def write_options() -> bool:
    """Bring the text in this checkout's baremetal.sh up to date; return whether it was not."""
    script = SCRIPT.read_text(encoding="utf-8")
    made = with_options(script)
    if made != script:
        write_atomic(SCRIPT, made.encode(), 0o755)
    return made != script


def stamp(url: str, ref: str, output: Path) -> None:
    """Write a copy of baremetal.sh that knows where its code is. Raises UsageError."""
    values = {"STAMPED_URL": checked_url(url), "STAMPED_REF": checked_ref(ref)}
    script = SCRIPT.read_text(encoding="utf-8")
    for name, value in values.items():
        blank = f'\n{name}=""\n'
        if blank not in script:
            raise CncpError(f"{SCRIPT} has no place for {name}", "get it again from the repository")
        script = script.replace(blank, f"\n{name}={shlex.quote(value)}\n", 1)
    if output.is_dir():
        raise UsageError(f"{output} is a folder", f"name a file in it: --output {output / 'baremetal.sh'}")
    try:
        write_atomic(output, script.encode(), 0o755)
    except OSError as error:
        raise CncpError(f"{output} cannot be written: {error.strerror}", "name another with --output") from None


def checked_url(url: str) -> str:
    """Return a URL that git can clone and that can be given away. Raises UsageError."""
    hint = "name an https://, ssh:// or file:// URL, HOST:PATH for ssh, or the absolute path of a repository"
    if not url or url.startswith("-") or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise UsageError(f"{url!r} is not a URL", hint)
    if url.startswith("/") or re.fullmatch(r"([\w.-]+@)?[\w.-]+:(?!/)[^:]+", url):
        return url
    try:
        parts = urllib.parse.urlsplit(url)
        known = (parts.scheme in ("https", "ssh") and parts.hostname) or (parts.scheme == "file" and parts.path)
    except ValueError:
        parts, known = urllib.parse.urlsplit(""), None
    if not known:
        # http:// and git:// tell nobody who answered, and what they bring is executed.
        raise UsageError(f"{url!r} is not a URL that code can be trusted from", hint)
    if parts.password is not None:
        raise UsageError(
            "the URL holds a password, which everyone with the script could read",
            "leave it out; git asks for it, or finds it in its credential store",
        )
    return url


def checked_ref(ref: str) -> str:
    """Return the name of a branch, tag or commit; "" is the repository's own default. Raises UsageError."""
    if ref and (ref.startswith(("-", "/", ".")) or ".." in ref or re.search(r"[\s\x00-\x1f\x7f~^:?*\[\\]", ref)):
        raise UsageError(f"{ref!r} is not the name of a commit", "name a branch, a tag or a commit with --ref")
    return ref
