"""The model of a cluster: one table of settings, and the frozen value they make.

The table drives everything that can set a value: ``cluster.toml``, the ``CNCP_*`` environment,
the flags of the command line, the node attributes of Chef, and the help. Standard library only:
the settings are checked before there is a virtualenv, so that bad input changes nothing.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cncp.errors import UsageError

PORTS_NEEDED = 18
"""Ports an ipcontroller binds with its default broadcast depth of 1: 9 for engines, 7 for clients
(registration is shared, so 15 together), 2 internal and the monitor (ipyparallel 9.2,
``IPController.init_hub``)."""

LOOPBACK = "127.0.0.1"

Value = str | int | bool


class Invalid(ValueError):
    """A value that a setting cannot take; its text completes the sentence "KEY must be ..."."""


@dataclass(frozen=True)
class Setting:
    """One thing a user can set: its key, how a value is read, and what it means.

    ``parse`` takes the value as it came (a string from flags and environment, any TOML or JSON
    type from files) and returns it normalised, or raises Invalid. What is ``secret`` is never shown.
    """

    key: str
    parse: Callable[[Any], Value]
    values: str
    help: str
    secret: bool = False

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        """The name in the environment."""
        return "CNCP_" + self.key.upper()


def choice(*names: str) -> Callable[[Any], Value]:
    """Return what reads one of some words."""

    def parse(raw: Any) -> Value:
        if isinstance(raw, str) and raw in names:
            return raw
        close = difflib.get_close_matches(str(raw), names, 1)
        raise Invalid(f"one of {', '.join(names)}" + (f" (did you mean {close[0]}?)" if close else ""))

    return parse


def _number(raw: Any, low: int, high: int, unit: str = "") -> int:
    wanted = f"a whole number from {low} to {high}{unit and ' ' + unit}"
    if isinstance(raw, str) and re.fullmatch(r"[0-9]{1,9}", raw):
        raw = int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int) or not low <= raw <= high:
        raise Invalid(wanted)
    return raw


def within(low: int, high: int, unit: str = "") -> Callable[[Any], Value]:
    """Return what reads a whole number with bounds; ``unit`` is for the error."""
    return lambda raw: _number(raw, low, high, unit)


def _number_or(low: int, high: int, pattern: str, forms: str) -> Callable[[Any], Value]:
    """A number, or a string that matches ``pattern``; ``forms`` says what that allows."""

    def parse(raw: Any) -> Value:
        if isinstance(raw, str) and re.fullmatch(pattern, raw):
            return raw
        try:
            return _number(raw, low, high)
        except Invalid as error:
            raise Invalid(f"{forms}, or {error}") from None

    return parse


def _switch(raw: Any) -> Value:
    named = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.lower() in named:
        return named[raw.lower()]
    raise Invalid("true or false")


def _name(raw: Any) -> Value:
    # The name becomes part of folder names, unit names and session names.
    if isinstance(raw, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", raw):
        return raw
    raise Invalid("1 to 40 letters, digits, - and _, starting with a letter or digit")


def _listen(raw: Any) -> Value:
    named = {"loopback": "127.0.0.1", "all": "0.0.0.0", "*": "0.0.0.0"}
    if isinstance(raw, str):
        try:
            return str(ipaddress.IPv4Address(named.get(raw, raw)))
        except ValueError:
            pass
    raise Invalid("loopback, all, or an IPv4 address of this machine")


def _address(raw: Any) -> Value:
    label = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    if isinstance(raw, str) and len(raw) <= 253 and re.fullmatch(rf"{label}(\.{label})*\.?", raw):
        if re.fullmatch(r"[0-9.]+", raw):
            try:
                ipaddress.IPv4Address(raw)
            except ValueError:
                raise Invalid("auto, a host name or an IPv4 address") from None
        return raw
    raise Invalid("auto, a host name or an IPv4 address")


def _ports(raw: Any) -> Value:
    if raw == "auto":
        return "auto"
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", raw) if isinstance(raw, str) else None
    if match:
        low, high = int(match[1]), int(match[2])
        if low >= 1024 and high <= 65535 and high - low + 1 >= PORTS_NEEDED:
            return f"{low}-{high}"
    raise Invalid(f"auto, or a range LOW-HIGH of at least {PORTS_NEEDED} ports from 1024 to 65535")


def _memory(raw: Any) -> Value:
    if raw == "none":
        return "none"
    match = re.fullmatch(r"([1-9][0-9]{0,6})([MG])", raw) if isinstance(raw, str) else None
    # Below 128 MB an engine does not get through its own imports.
    if match and (match[2] == "G" or int(match[1]) >= 128):
        return match[0]
    raise Invalid("none, or a size of at least 128M such as 512M or 4G")


_OWN = ("HOME", "USER", "LOGNAME", "IPYTHONDIR", "INVOCATION_ID", "JOURNAL_STREAM")
_OF_THREADS = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM", "NUMEXPR", "NUMBA")
_LONGEST = 100_000  # characters; a program is given at most 128 KiB in a variable (execve(2))


MANAGER = r"[a-z][a-z0-9_-]{0,39}"
"""What the name of a service manager can be."""

_MANAGERS = ("auto", "systemd", "supervisor", "tmux", "screen")


def _manager(raw: Any) -> Value:
    """Return one of ours, or the name of one of another package, which is looked for where that can be installed."""
    # What is nearly one of ours is no other's.
    if raw not in _MANAGERS and not (
        isinstance(raw, str) and re.fullmatch(MANAGER, raw) and not difflib.get_close_matches(raw, _MANAGERS, 1, 0.85)
    ):
        choice(*_MANAGERS)(raw)
    return str(raw)


def _environment(raw: Any) -> Value:
    """Return variables as words of a shell, in order: A=1 'B=two words'."""
    wanted = 'a table of variables (NAME = "value"), words NAME=value, @FILE with such words, or none'
    if isinstance(raw, str):
        raw = _of_words("" if raw == "none" else raw, wanted)
    if not isinstance(raw, Mapping):
        raise Invalid(wanted)
    for name, value in raw.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(name)):
            raise Invalid(f"{wanted}; {str(name)!r} is no name of a variable")
        if str(name).startswith("CNCP_") or name in _OWN:
            raise Invalid(f"without {name}, which cncp sets")
        if name in {f"{program}_NUM_THREADS" for program in _OF_THREADS}:
            raise Invalid(f"without {name}, which follows from the setting threads")
        if isinstance(value, bool) or not isinstance(value, str | int | float) or "\0" in str(value):
            raise Invalid(f"{wanted}; {name} must be a text or a number")
        if len(str(value)) > _LONGEST:
            raise Invalid(f"shorter: the value of {name} has more than {_LONGEST} characters")
    return shlex.join(f"{name}={raw[name]}" for name in sorted(raw)) or "none"


def _of_words(text: str, wanted: str) -> dict[str, str]:
    if text.startswith("@"):
        try:
            text = Path(text[1:]).expanduser().read_text(encoding="utf-8")
        except (OSError, ValueError, RuntimeError) as error:
            raise Invalid(f"{wanted}; the file cannot be read: {getattr(error, 'strerror', '') or error}") from None
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        raise Invalid(f"{wanted}: {error}") from None
    if not all("=" in word for word in words):
        raise Invalid(wanted)
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}


def _requirements(raw: Any) -> Value:
    if isinstance(raw, str) and raw and not re.search(r"[\x00-\x1f]", raw):
        if "://" in raw and not raw.startswith("https://"):
            raise Invalid("none, the path of a requirements file, or an https:// URL of one")
        if not raw.startswith("-"):
            return raw
    raise Invalid("none, the path of a requirements file, or an https:// URL of one")


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "role",
        choice("compute", "controller", "engine"),
        "compute|controller|engine",
        "what this machine runs: controller and engines, or one of them",
    ),
    Setting("profile", _name, "NAME", "name of the IPython profile, without profile_"),
    Setting(
        "engines",
        _number_or(0, 1024, r"cores|cores-[1-9][0-9]{0,2}|gpus", "cores, cores-N, gpus"),
        "cores|cores-N|gpus|N",
        "how many engines; with gpus one a GPU, each seeing only its own",
    ),
    Setting(
        "threads",
        _number_or(1, 1024, "auto", "auto"),
        "auto|N",
        "threads an engine may use (OMP_NUM_THREADS and its kin); auto: cores / engines",
    ),
    Setting(
        "pin",
        choice("none", "cores", "numa"),
        "none|cores|numa",
        "processors an engine may use: all; as many cores of its own as it has threads; those of one NUMA node",
    ),
    Setting(
        "listen",
        _listen,
        "loopback|all|ADDRESS",
        "address the controller listens on",
    ),
    Setting(
        "external",
        _address,
        "auto|HOST",
        "address by which other machines reach the controller; auto: this host's name",
    ),
    Setting("ports", _ports, "auto|LOW-HIGH", f"range of {PORTS_NEEDED} or more ports"),
    Setting(
        "service_manager",
        _manager,
        "|".join((*_MANAGERS, "NAME")),
        "what keeps controller and engines running; NAME is one of another package",
    ),
    Setting(
        "scope",
        choice("auto", "system", "user"),
        "auto|system|user",
        "systemd units of the system or of the user's own manager",
    ),
    Setting(
        "database",
        choice("none", "memory", "sqlite"),
        "none|memory|sqlite",
        "where the hub keeps results for clients that disconnect",
    ),
    Setting("encryption", _switch, "true|false", "encrypt and authenticate all traffic (CurveZMQ)"),
    Setting(
        "requirements",
        _requirements,
        "none|FILE|URL",
        "requirements file installed on top of the locked packages",
    ),
    Setting(
        "environment",
        _environment,
        "none|NAME=VALUE ...|@FILE",
        "variables of the engines, which have none of the shell that started them",
        secret=True,
    ),
    Setting("jupyter", _switch, "true|false", "JupyterLab beside the controller, on loopback behind a token"),
    Setting(
        "memory",
        _memory,
        "none|SIZE",
        "memory an engine may use, such as 4G; enforced by systemd",
    ),
    Setting("logs", choice("files", "journal"), "files|journal", "rotated files, or systemd's journal"),
    Setting("log_size", within(1, 10240, "MB"), "MB", "size at which a log file is rotated"),
    Setting("log_keep", within(1, 1000, "files"), "N", "rotated log files kept for each service"),
    Setting("heartbeat", within(100, 60000, "ms"), "MS", "period of the controller's heartbeat"),
    Setting(
        "tolerance",
        within(5, 86400, "s"),
        "SECONDS",
        "silence after which an engine or the controller is given up",
    ),
    Setting(
        "converge",
        choice("auto", "chef", "embedded"),
        "auto|chef|embedded",
        "what converges the machine: Chef, or the engine built in",
    ),
)

BY_KEY: Mapping[str, Setting] = {setting.key: setting for setting in SETTINGS}

RENAMED: Mapping[str, str] = {"engine": "converge"}
"""Names that settings had in earlier versions, and those that they have now."""

FORMER_FLAGS = {"--" + former.replace("_", "-"): BY_KEY[now].flag for former, now in RENAMED.items()}
FORMER_VARIABLES = {"CNCP_" + former.upper(): BY_KEY[now].variable for former, now in RENAMED.items()}


@dataclass(frozen=True)
class Cluster:
    """What the user wants, complete and checked. Field for field the table above."""

    role: str
    profile: str
    engines: str | int
    threads: str | int
    pin: str
    listen: str
    external: str
    ports: str
    service_manager: str
    scope: str
    database: str
    encryption: bool
    requirements: str
    environment: str
    jupyter: bool
    memory: str
    logs: str
    log_size: int
    log_keep: int
    heartbeat: int
    tolerance: int
    converge: str


def parse(key: str, raw: Any, where: str) -> Value:
    """Read one value. ``where`` names its origin in the error. Raises UsageError."""
    setting = BY_KEY.get(key)
    if key in RENAMED:
        meant = _other(key, raw)
        hint = f"did you mean {BY_KEY[meant].flag} {raw}?" if meant else f"write {RENAMED[key]} = {raw!r}"
        raise UsageError(f"{where}: the setting {key} has another name now", hint)
    if setting is None:
        close = difflib.get_close_matches(key, BY_KEY, 1)
        raise UsageError(
            f"{where}: there is no setting {key!r}",
            f"did you mean {close[0]}?" if close else "the settings are: " + ", ".join(sorted(BY_KEY)),
        )
    try:
        return setting.parse(raw)
    except Invalid as error:
        meant = _other(key, raw)
        raise UsageError(
            f"{where}: {key if setting.secret else f'{key} = {raw!r}'} is not possible",
            (f"did you mean {BY_KEY[meant].flag} {raw}? " if meant else "") + f"{key} must be {error}",
        ) from None


def _other(key: str, raw: Any) -> str:
    """Return the setting of nearly the same name that could have this value, "" where there is none."""
    for other in difflib.get_close_matches(key, [name for name in BY_KEY if name != key], 3, 0.8):
        try:
            BY_KEY[other].parse(raw)
        except Invalid:
            continue
        return other
    return ""


@dataclass(frozen=True)
class Layer:
    """Values from one origin: already parsed, with the words that name the origin."""

    origin: str
    values: Mapping[str, Value]


def layer(origin: str, raw: Mapping[str, object], naming: Callable[[str], str] = str) -> Layer:
    """Check the values of one origin. ``naming`` turns a key into how the user wrote it."""
    return Layer(origin, {key: parse(key, value, f"{origin} {naming(key)}".strip()) for key, value in raw.items()})


def merged(values: Mapping[str, Value], later: Mapping[str, Value]) -> dict[str, Value]:
    """Return values of which the later ones win: whole settings, and of the environment each variable."""
    found = {**values, **later}
    both = [str(one.get("environment", "none")) for one in (values, later)]
    if "none" not in both:
        # The last of several with the same name counts.
        found["environment"] = _environment(" ".join(both))
    return found


def cluster(layers: Iterable[Layer]) -> Cluster:
    """Merge layers, later ones winning, into the model. Raises UsageError on contradictions."""
    values: dict[str, Value] = {}
    origins: dict[str, str] = {}
    for one in layers:
        values = merged(values, one.values)
        origins.update(dict.fromkeys(one.values, one.origin))
    missing = [field.name for field in fields(Cluster) if field.name not in values]
    if missing:
        raise UsageError(f"no value for {', '.join(missing)}", "add it to defaults.json")
    made = Cluster(**values)  # type: ignore[arg-type]  # every value went through its parser
    _refuse_contradictions(made, origins)
    return made


def _refuse_contradictions(it: Cluster, origins: Mapping[str, str]) -> None:
    def refuse(first: str, second: str, why: str, hint: str) -> None:
        named = " and ".join(f"{key} = {getattr(it, key)!r} ({origins[key]})" for key in (first, second))
        raise UsageError(f"{named} contradict each other: {why}", hint)

    if it.service_manager not in ("auto", "systemd"):
        if it.scope == "system":
            refuse("service_manager", "scope", "only systemd has a system scope", "leave scope out")
        if it.memory != "none":
            refuse("service_manager", "memory", "only systemd limits memory", "leave memory out")
        if it.logs == "journal":
            refuse("service_manager", "logs", "only systemd has a journal", "set logs to files")
    if it.tolerance * 1000 < 4 * it.heartbeat:
        refuse(
            "tolerance",
            "heartbeat",
            "a busy engine would be given up after fewer than 4 missed beats",
            f"set tolerance to {-(-4 * it.heartbeat // 1000)} or more, or heartbeat lower",
        )
    if it.external != "auto" and it.listen.startswith("127."):
        refuse(
            "external",
            "listen",
            "nothing outside reaches a controller on loopback",
            "set listen to all or to an address of this machine",
        )
    if it.role == "controller" and origins["engines"] != "defaults" and it.engines != 0:
        refuse("role", "engines", "a controller runs no engines", "use the role compute, or leave engines out")
    if it.role == "engine" and it.jupyter:
        refuse("role", "jupyter", "Jupyter runs beside the controller", "switch it on there, and set it to false here")
