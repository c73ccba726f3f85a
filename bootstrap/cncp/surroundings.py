"""Which of the settings around us count for a program that we start: "where from", and no other.

People set variables and write files for their own use of a program: a cut-off date of uv, a target
folder of pip, a folder of modules for another Python. We use the program as a means, and none of
that is meant for us. What is meant for everything on this machine counts: which index, proxy,
certificates and passwords there are. `run.run` starts nothing without asking `without` here;
baremetal.sh does the same for what it starts (``own_surroundings``).

Standard library only.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

PYTHON = ("-I", "-Xutf8")
"""How every Python of ours is started.

No variable, no site folder of the user's and no folder somebody stands in decides what it imports;
and a path has the same characters in every locale.
"""


def here() -> list[str]:
    """Return how to start this Python again: isolated as well, unless a checkout is what it runs from."""
    return [sys.executable, *(PYTHON if sys.flags.isolated else ("-s",))]


@dataclass(frozen=True)
class Rule:
    """What of an environment does not reach a program: names that match ``drop`` and none of ``keep``."""

    drop: tuple[str, ...]
    keep: tuple[str, ...] = ()

    def drops(self, name: str) -> bool:
        """Tell whether a variable is left out."""
        return _matches(name, self.drop) and not _matches(name, self.keep)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


EVERY = Rule(("BASH_ENV", "ENV", "CDPATH", "GLOBIGNORE", "POSIXLY_CORRECT", "GREP_OPTIONS", "BASH_FUNC_*"))
"""Of every program, which may be a shell script or run one."""

_PYTHON = ("PYTHON*", "__PYVENV_LAUNCHER__", "VIRTUALENV_*")

RULES: Mapping[str, Rule] = {
    "python": Rule(_PYTHON),
    "pip": Rule((*_PYTHON, "PIP_*")),
    "venv": Rule((*_PYTHON, "PIP_*")),
    "virtualenv": Rule((*_PYTHON, "PIP_*")),
    "uv": Rule(
        (*_PYTHON, "UV_*", "PIP_*", "VIRTUAL_ENV", "CONDA_PREFIX"),
        (
            *("UV_INDEX", "UV_INDEX_*", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_NO_INDEX"),
            *("UV_INSECURE_HOST", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_KEYRING_PROVIDER", "UV_CREDENTIALS_DIR"),
            *("UV_HTTP_*", "UV_REQUEST_TIMEOUT", "UV_UPLOAD_HTTP_TIMEOUT", "UV_CONCURRENT_DOWNLOADS"),
        ),
    ),
    "git": Rule(
        ("GIT_*",),
        (
            *("GIT_SSH", "GIT_SSH_*", "GIT_SSL_*", "GIT_ASKPASS", "GIT_TERMINAL_PROMPT", "GIT_PROXY_*", "GIT_HTTP_*"),
            # Whole configurations, where addresses and passwords are; what else is in them, GIT overrules.
            *("GIT_CONFIG_*", "GIT_ALLOW_PROTOCOL", "GIT_PROTOCOL_FROM_USER"),
        ),
    ),
    "tar": Rule(("TAR_OPTIONS",)),
    # Sessions opened from one shell must be found from every other.
    "tmux": Rule(("TMUX", "TMUX_*")),
    "screen": Rule(("SCREENDIR", "SCREENRC", "SYSSCREENRC", "STY")),
    "chef-solo": Rule(("RUBYOPT", "BUNDLE_*")),
    "cinc-solo": Rule(("RUBYOPT", "BUNDLE_*")),
}
"""Programs whose users set them up by variables. Of pip nothing is left: `pipconf.for_pip` says what counts."""

GIT = tuple(
    word
    for setting in (
        *("core.hooksPath=/dev/null", "core.fsmonitor=false", "core.attributesFile=/dev/null"),
        *("core.autocrlf=false", "core.eol=lf", "core.quotePath=true", "submodule.recurse=false"),
        *("fetch.recurseSubmodules=false", "init.defaultObjectFormat=sha1", "init.templateDir="),
    )
    for word in ("-c", setting)
)
"""Options of git that overrule what a user's configuration says of files; addresses there still count."""

_WRAPPERS = ("sudo", "env", "nice", "setsid", "timeout", "runuser")


def program(argv: Sequence[str]) -> str:
    """Return the name in RULES of the program that a command line is for, "" where there is none."""
    for number, word in enumerate(argv):
        name = os.path.basename(word)
        if re.fullmatch(r"python[0-9.]*", name):
            module = next((after for before, after in itertools.pairwise(argv[number:]) if before == "-m"), "")
            return module if module in RULES else "python"
        if name in RULES:
            return name
        if name not in _WRAPPERS and not word.startswith("-") and "=" not in word:
            return ""
    return ""


def without(argv: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of an environment reaches the program that a command line is for."""
    rules = [EVERY, *([RULES[name]] if (name := program(argv)) else [])]
    return {name: value for name, value in environment.items() if not any(rule.drops(name) for rule in rules)}
