"""Where the settings of one machine come from: defaults <- role <- kept <- file <- environment <- flags.

Standard library only; on Python 3.10, which has no tomllib, pip's own copy of tomli serves until
the virtualenv has one.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from cncp.config import inventory, machine_layers, pool_tables, rendezvous_table
from cncp.config.inventory import HostSpec, Inventory
from cncp.config.parsers import Value
from cncp.config.rendezvous_table import RendezvousTable
from cncp.config.settings import BY_KEY, FORMER_VARIABLES, RENAMED, Cluster, Layer, cluster, layer, merged
from cncp.config.variables import INTERNAL, OTHER_VARIABLES, VM_VARIABLES, switched
from cncp.errors import UsageError
from cncp.records import Odd, Record
from cncp.records import read as read_json
from cncp.state_files import StateFile

T = TypeVar("T")

_PACKAGE = Path(__file__).resolve().parents[1]

INSTALLED = (_PACKAGE / "_code").is_dir()
"""Whether this is a package that pip or uv has installed, and may replace or remove at any time."""

SOURCE = _PACKAGE / "_code" if INSTALLED else _PACKAGE.parents[1]
"""The folder that holds bootstrap/, cookbooks/ and roles/: the checkout, or its copy in a package (hatch_build.py)."""

STATIC = SOURCE / "cookbooks" / "cncp" / "files"
"""Everything that is installed byte for byte."""


def gather(
    *,
    file: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, str],
    former: Kept,
) -> Cluster:
    """Merge all origins into the model. Raises UsageError, and changes nothing."""
    return complete(_of_controller(file, environment, flags, former))


def with_paths(values: Mapping[str, T], folder: Path) -> dict[str, T | str]:
    """Return values whose paths are absolute, relative ones taken from ``folder``.

    They are kept for later runs, which may start elsewhere. What is not a path stays as it is.
    """
    found: dict[str, T | str] = dict(values)
    named = values.get("requirements")
    if isinstance(named, str) and named not in ("", "none") and not named.startswith("-") and "://" not in named:
        found["requirements"] = str(folder / os.path.expanduser(named))
    variables = values.get("environment")
    if isinstance(variables, str) and variables.startswith("@"):
        found["environment"] = f"@{folder / os.path.expanduser(variables[1:])}"
    return found


def recorded(values: Mapping[str, object]) -> Cluster:
    """Return settings as another run wrote them down, maybe one of another version. Raises UsageError.

    What that version did not know has its default, and what it alone knows is left out. They were held
    against one another when they were made.
    """
    known = {key: value for key, value in _renamed(values).items() if key in BY_KEY}
    whole = {**_of_code(STATIC / "defaults.json", dict[str, object]), **known}
    return Cluster(**layer("record", whole).values)  # type: ignore[arg-type]  # every value went through its parser


def _renamed(values: Mapping[str, object]) -> dict[str, object]:
    """Return what an earlier version wrote down under the names that settings have now."""
    return {RENAMED.get(key, key): value for key, value in values.items()}


@functools.cache
def _defaults() -> Layer:
    return layer("defaults", _of_code(STATIC / "defaults.json", dict[str, object]))


def complete(later: Sequence[Layer]) -> Cluster:
    """Merge origins, later ones winning, over the defaults and those of the role they choose."""
    chosen = next((given.values["role"] for given in reversed(later) if "role" in given.values), None)
    return cluster([_defaults(), _role(str(chosen or _defaults().values["role"])), *later])


@dataclass(frozen=True)
class Kept(Record):
    """What earlier command lines said: settings given as flags, and which cluster.toml was used."""

    settings: Mapping[str, Value]
    file: str = ""

    @classmethod
    def upgraded(cls, members: Mapping[str, object]) -> Mapping[str, object]:
        """Return the settings by the names that they have now, each of them read."""
        settings = members.get("settings")
        if not isinstance(settings, dict):
            return members
        try:
            # As they are told by the file they are in, later nobody needs to ask where they come from.
            return {**members, "settings": layer("", _renamed(settings)).values}
        except UsageError as error:
            raise Odd(error.message, whole=True) from None


KEPT = StateFile(
    "kept.json", Kept, "rm {path}; then cncp up with the options you want", "what earlier command lines said"
)


def kept(home: Path) -> Kept:
    """Return what earlier command lines said. Raises CncpError on a damaged record."""
    return KEPT.load(home) or Kept({})


def find_file(given: str | None, environment: Mapping[str, str], former: Kept, folder: Path) -> Path | None:
    """Return the cluster.toml to use: the one named, the one in ``folder``, the one used before.

    None on a host that another machine is in charge of, which says all of it.
    """
    if switched(environment, "CNCP_HERE"):
        return None
    named = given or environment.get("CNCP_FILE")
    if named:
        return Path(named).absolute()
    here = folder / "cluster.toml"
    if here.is_file():
        return here
    return Path(former.file) if former.file else None


def _of_code(path: Path, kind: type[T]) -> T:
    """Return what is in a JSON file of the code."""
    return read_json(kind, path.read_bytes(), str(path), "get the code anew")


@dataclass(frozen=True)
class _Attributes:
    """What a role of Chef says of the settings."""

    cncp: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class _RoleFile:
    default_attributes: _Attributes = _Attributes()


@functools.cache
def _role(name: str) -> Layer:
    stored = _of_code(SOURCE / "roles" / f"{name}.json", _RoleFile)
    attributes = {**stored.default_attributes.cncp, "role": name}
    return layer("defaults", with_paths(attributes, Path.cwd()))


def _of_controller(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, str], former: Kept
) -> list[Layer]:
    """Return what all origins say of the machine that runs the controller.

    Where no pool names that machine it has no engines, and what is said of engines is the hosts'.
    """
    values, hosts = read(file)
    kept = layer("kept", former.settings)
    others = [_environment(environment), _flags(flags)]
    if file is None:
        return [kept, *others]
    if hosts is None:
        return [kept, layer(str(file), values), *others]
    own = machine_layers.own_layer(values, hosts, str(file))
    if not hosts.on_controller:
        kept, *others = map(machine_layers.without_engines, (kept, *others))
    return [kept, own, *others]


def of_many(former: Kept, file: Path | None) -> Kept:
    """Return what earlier command lines said as it is for a cluster of several machines, where the file names them.

    How many engines a machine was to run when it was the only one is nothing to all those that came later.
    """
    if file is None or former.file == str(file) or read(file)[1] is None:
        return former
    return replace(former, settings=machine_layers.without_engines(Layer("kept", former.settings)).values)


READABLE = "name a readable UTF-8 text file"
"""What to do about a file that is not one."""


def read(path: Path | None) -> tuple[dict[str, object], Inventory | None]:
    """Read a cluster.toml, or a plain list of hosts: the settings as they stand there, and the hosts.

    Raises UsageError.
    """
    if path is None:
        return {}, None
    settings, hosts, _ = _parsed(path, pool_tables.content_of(path, READABLE))
    return dict(settings), hosts


def rendezvous(path: Path | None) -> RendezvousTable:
    """Read where machines find the cluster by themselves. Raises UsageError."""
    return RendezvousTable() if path is None else _parsed(path, pool_tables.content_of(path, READABLE))[2]


@functools.lru_cache(maxsize=4)
def _parsed(path: Path, content: str) -> tuple[Mapping[str, object], Inventory | None, RendezvousTable]:
    """Parse the content of a file, once: it is asked for by every step, and for every host."""
    if path.suffix != ".toml":
        return {}, pool_tables.listed(path, content), RendezvousTable()
    values = _toml(path, content)
    if values is None:
        return {}, None, RendezvousTable()
    hosts = pool_tables.parse(values, str(path), path.parent)
    table = rendezvous_table.parse(values.get(rendezvous_table.TABLE, {}), str(path), path.parent)
    settings = {key: value for key, value in values.items() if key not in inventory.TABLES}
    return with_paths(settings, path.parent), hosts, table


def read_toml(path: Path) -> dict[str, object]:
    """Return what a file of TOML says that is no cluster.toml. Raises UsageError."""
    return _toml(path, pool_tables.content_of(path, READABLE)) or {}


def _toml(path: Path, content: str) -> dict[str, object] | None:
    """Return what a text says; None where no Python here reads TOML yet."""
    toml = toml_reader()
    if toml is None:
        return None
    try:
        values: dict[str, object] = toml.loads(content)
        _refuse_endless(values)
    except RecursionError:
        raise UsageError(f"{path} is not readable: it is nested too deep", "no file of ours has such depths") from None
    except ValueError as error:
        # Of TOML itself, or of a number with more digits than Python reads.
        raise UsageError(f"{path} is not TOML: {error}", "see https://toml.io for the syntax") from None
    return values


def _refuse_endless(value: Any) -> None:
    """Raise ValueError on a number beyond those of TOML, which has 64 bits: it could not even be shown."""
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("a number is too large")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _refuse_endless(inner)


def for_controller(
    *, file: Path | None, environment: Mapping[str, str], flags: Mapping[str, str], former: Kept
) -> dict[str, Value]:
    """Return the settings of the controller's machine that are not the defaults. Raises UsageError."""
    given = _of_controller(file, environment, flags, former)
    complete(given)
    return _together(given)


def _together(layers: Iterable[Layer]) -> dict[str, Value]:
    """Return the values of layers, of which later ones win."""
    return functools.reduce(merged, (given.values for given in layers), dict[str, Value]())


def for_host(
    host: HostSpec,
    *,
    file: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, str],
    former: Kept,
) -> dict[str, Value]:
    """Return the settings of one machine of engines that are not the defaults. Raises UsageError."""
    values, _ = read(file)
    shared = layer(str(file), values)
    given = [layer("kept", former.settings), shared, Layer(f"{file} {host.name}", host.settings)]
    chosen = machine_layers.of_engines(_together((*given, _environment(environment), _flags(flags))))
    complete([Layer(host.name, chosen)])
    return chosen


def toml_reader() -> Any:
    """Return a module that reads TOML, None where there is none yet."""
    for name in ("tomllib", "tomli", "pip._vendor.tomli"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _environment(environment: Mapping[str, str]) -> Layer:
    known = {setting.variable: setting.key for setting in BY_KEY.values()}
    found = {}
    for name, value in environment.items():
        if not name.startswith("CNCP_") or name in {*OTHER_VARIABLES, *VM_VARIABLES, *INTERNAL}:
            continue
        if name in FORMER_VARIABLES:
            raise UsageError(f"environment: {name} has another name now", f"set {FORMER_VARIABLES[name]}={value}")
        if name not in known:
            close = difflib.get_close_matches(name, [*known, *OTHER_VARIABLES, *VM_VARIABLES], 1)
            raise UsageError(
                f"environment: there is no variable {name}",
                f"did you mean {close[0]}?" if close else f"unset it: unset {name}",
            )
        found[known[name]] = value
    return layer("environment", with_paths(found, Path.cwd()), lambda key: f"({BY_KEY[key].variable})")


def _flags(flags: Mapping[str, str]) -> Layer:
    return layer("command line", flags, lambda key: f"({BY_KEY[key].flag})")
