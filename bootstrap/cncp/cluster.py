"""The model of a cluster: one table of settings, and the frozen value they make.

The table drives everything that can set a value: ``cluster.toml``, the ``CNCP_*`` environment,
the flags of the command line, the node attributes of Chef, and the help. Standard library only:
the settings are checked before there is a virtualenv, so that bad input changes nothing.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
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
    type from files) and returns it normalised, or raises Invalid.
    """

    key: str
    parse: Callable[[Any], Value]
    values: str
    help: str

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        """The name in the environment."""
        return "CNCP_" + self.key.upper()


def _choice(*names: str) -> Callable[[Any], Value]:
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


def _within(low: int, high: int, unit: str = "") -> Callable[[Any], Value]:
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
        _choice("compute", "controller", "engine"),
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
        _choice("none", "cores", "numa"),
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
        _choice("auto", "systemd", "supervisor", "tmux", "screen"),
        "auto|systemd|supervisor|tmux|screen",
        "what keeps controller and engines running",
    ),
    Setting(
        "scope",
        _choice("auto", "system", "user"),
        "auto|system|user",
        "systemd units of the system or of the user's own manager",
    ),
    Setting(
        "database",
        _choice("none", "memory", "sqlite"),
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
    Setting("jupyter", _switch, "true|false", "JupyterLab beside the controller, on loopback behind a token"),
    Setting(
        "memory",
        _memory,
        "none|SIZE",
        "memory an engine may use, such as 4G; enforced by systemd",
    ),
    Setting("logs", _choice("files", "journal"), "files|journal", "rotated files, or systemd's journal"),
    Setting("log_size", _within(1, 10240, "MB"), "MB", "size at which a log file is rotated"),
    Setting("log_keep", _within(1, 1000, "files"), "N", "rotated log files kept for each service"),
    Setting("heartbeat", _within(100, 60000, "ms"), "MS", "period of the controller's heartbeat"),
    Setting(
        "tolerance",
        _within(5, 86400, "s"),
        "SECONDS",
        "silence after which an engine or the controller is given up",
    ),
    Setting(
        "engine",
        _choice("auto", "chef", "embedded"),
        "auto|chef|embedded",
        "what converges the machine: Chef, or the engine built in",
    ),
)

BY_KEY: Mapping[str, Setting] = {setting.key: setting for setting in SETTINGS}


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
    jupyter: bool
    memory: str
    logs: str
    log_size: int
    log_keep: int
    heartbeat: int
    tolerance: int
    engine: str


def parse(key: str, raw: Any, where: str) -> Value:
    """Read one value. ``where`` names its origin in the error. Raises UsageError."""
    setting = BY_KEY.get(key)
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
            f"{where}: {key} = {raw!r} is not possible",
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


def layer(origin: str, raw: Mapping[str, Any], naming: Callable[[str], str] = str) -> Layer:
    """Check the values of one origin. ``naming`` turns a key into how the user wrote it."""
    return Layer(origin, {key: parse(key, value, f"{origin} {naming(key)}".strip()) for key, value in raw.items()})


def cluster(layers: Iterable[Layer]) -> Cluster:
    """Merge layers, later ones winning, into the model. Raises UsageError on contradictions."""
    values: dict[str, Value] = {}
    origins: dict[str, str] = {}
    for one in layers:
        values.update(one.values)
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
