"""The model of a cluster: one table of settings, and the frozen value they make.

The table drives everything that can set a value: ``cluster.toml``, the ``CNCP_*`` environment,
the flags of the command line, the node attributes of Chef, and the help. Standard library only:
the settings are checked before there is a virtualenv, so that bad input changes nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from cncp.config import parsers
from cncp.config.parsers import Invalid, Value
from cncp.errors import UsageError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Setting:
    """One thing a user can set: its key, how a value is read, and what it means.

    ``parse`` is one of `cncp.config.parsers`. What is ``secret`` is never shown.
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


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "role",
        parsers.choice("compute", "controller", "engine"),
        "compute|controller|engine",
        "what this machine runs: controller and engines, or one of them",
    ),
    Setting("profile", parsers.profile, "NAME", "name of the IPython profile, without profile_"),
    Setting(
        "engines",
        parsers.number_or(0, 1024, r"cores|cores-[1-9][0-9]{0,2}|gpus", "cores, cores-N, gpus"),
        "cores|cores-N|gpus|N",
        "how many engines; with gpus one a GPU, each seeing only its own",
    ),
    Setting(
        "threads",
        parsers.number_or(1, 1024, "auto", "auto"),
        "auto|N",
        "threads an engine may use (OMP_NUM_THREADS and its kin); auto: cores / engines",
    ),
    Setting(
        "pin",
        parsers.choice("none", "cores", "numa"),
        "none|cores|numa",
        "processors an engine may use: all; as many cores of its own as it has threads; those of one NUMA node",
    ),
    Setting(
        "listen",
        parsers.listen,
        "loopback|all|ADDRESS",
        "address the controller listens on",
    ),
    Setting(
        "external",
        parsers.address,
        "auto|HOST",
        "address by which other machines reach the controller; auto: this host's name",
    ),
    Setting("ports", parsers.ports, "auto|LOW-HIGH", f"range of {parsers.PORTS_NEEDED} or more ports"),
    Setting(
        "service_manager",
        parsers.manager,
        "|".join((*parsers.MANAGERS, "NAME")),
        "what keeps controller and engines running; NAME is one of another package",
    ),
    Setting(
        "scope",
        parsers.choice("auto", "system", "user"),
        "auto|system|user",
        "systemd units of the system or of the user's own manager",
    ),
    Setting(
        "database",
        parsers.choice("none", "memory", "sqlite"),
        "none|memory|sqlite",
        "where the hub keeps results for clients that disconnect",
    ),
    Setting("encryption", parsers.switch, "true|false", "encrypt and authenticate all traffic (CurveZMQ)"),
    Setting(
        "requirements",
        parsers.requirements,
        "none|FILE|URL",
        "requirements file installed on top of the locked packages",
    ),
    Setting(
        "environment",
        parsers.environment,
        "none|NAME=VALUE ...|@FILE",
        "variables of the engines, which have none of the shell that started them",
        secret=True,
    ),
    Setting("jupyter", parsers.switch, "true|false", "JupyterLab beside the controller, on loopback behind a token"),
    Setting(
        "memory",
        parsers.memory,
        "none|SIZE",
        "memory an engine may use, such as 4G; enforced by systemd",
    ),
    Setting("logs", parsers.choice("files", "journal"), "files|journal", "rotated files, or systemd's journal"),
    Setting("log_size", parsers.within(1, 10240, "MB"), "MB", "size at which a log file is rotated"),
    Setting("log_keep", parsers.within(1, 1000, "files"), "N", "rotated log files kept for each service"),
    Setting("heartbeat", parsers.within(100, 60000, "ms"), "MS", "period of the controller's heartbeat"),
    Setting(
        "tolerance",
        parsers.within(5, 86400, "s"),
        "SECONDS",
        "silence after which an engine or the controller is given up",
    ),
    Setting(
        "converge",
        parsers.choice("auto", "chef", "embedded"),
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
    for similar in difflib.get_close_matches(key, [name for name in BY_KEY if name != key], 3, 0.8):
        try:
            BY_KEY[similar].parse(raw)
        except Invalid:
            continue
        return similar
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
    both = [str(origin.get("environment", "none")) for origin in (values, later)]
    if "none" not in both:
        # The last of several with the same name counts.
        found["environment"] = parsers.environment(" ".join(both))
    return found


def cluster(layers: Iterable[Layer]) -> Cluster:
    """Merge layers, later ones winning, into the model. Raises UsageError on contradictions."""
    values: dict[str, Value] = {}
    origins: dict[str, str] = {}
    for given in layers:
        values = merged(values, given.values)
        origins.update(dict.fromkeys(given.values, given.origin))
    missing = [field.name for field in fields(Cluster) if field.name not in values]
    if missing:
        raise UsageError(f"no value for {', '.join(missing)}", "add it to defaults.json")
    made = Cluster(**values)  # type: ignore[arg-type]  # every value went through its parser
    _refuse_contradictions(made, origins)
    return made


def _refuse_contradictions(wanted: Cluster, origins: Mapping[str, str]) -> None:
    def refuse(first: str, second: str, why: str, hint: str) -> None:
        named = " and ".join(f"{key} = {getattr(wanted, key)!r} ({origins[key]})" for key in (first, second))
        raise UsageError(f"{named} contradict each other: {why}", hint)

    if wanted.service_manager not in ("auto", "systemd"):
        if wanted.scope == "system":
            refuse("service_manager", "scope", "only systemd has a system scope", "leave scope out")
        if wanted.memory != "none":
            refuse("service_manager", "memory", "only systemd limits memory", "leave memory out")
        if wanted.logs == "journal":
            refuse("service_manager", "logs", "only systemd has a journal", "set logs to files")
    if wanted.tolerance * 1000 < 4 * wanted.heartbeat:
        refuse(
            "tolerance",
            "heartbeat",
            "a busy engine would be given up after fewer than 4 missed beats",
            f"set tolerance to {-(-4 * wanted.heartbeat // 1000)} or more, or heartbeat lower",
        )
    if wanted.external != "auto" and wanted.listen.startswith("127."):
        refuse(
            "external",
            "listen",
            "nothing outside reaches a controller on loopback",
            "set listen to all or to an address of this machine",
        )
    if wanted.role == "controller" and origins["engines"] != "defaults" and wanted.engines != 0:
        refuse("role", "engines", "a controller runs no engines", "use the role compute, or leave engines out")
    if wanted.role == "engine" and wanted.jupyter:
        refuse("role", "jupyter", "Jupyter runs beside the controller", "switch it on there, and set it to false here")
