"""Names of hosts as ranges: gold2, gold3, gold4 are gold[2-4]."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from cncp.errors import UsageError

MAX_HOSTS = 1024
"""Hosts of one cluster. About 1000 engines are what ipyparallel's schedulers are known to carry."""

_LONGEST = 1024  # characters of one name or pattern

HOST = re.compile(
    r"(?:(?P<user>[A-Za-z0-9._][A-Za-z0-9._-]*)@)?(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*)(?::(?P<port>[0-9]{1,5}))?"
)

_RANGE = re.compile(r"\[([^\[\]]*)\]")


def fold(names: Iterable[str]) -> list[str]:
    """Return names with those that differ in one number as ranges: gold2, gold3 are gold[2-3].

    The inverse of ``expand``; the order is that of the first name of each range.
    """
    split = [_split(name) for name in names]
    padded = {(before, after, len(number)) for before, number, after in split if re.match(r"0\d", number)}
    groups: dict[tuple[str, str, int], list[str]] = {}
    for place, (before, number, after) in enumerate(split):
        if not number:
            # Without a number there is nothing to differ in.
            groups[before, after, -1 - place] = [number]
            continue
        width = len(number) if (before, after, len(number)) in padded else 0
        groups.setdefault((before, after, width), []).append(number)
    return [f"{before}{_range(numbers)}{after}" for (before, after, _), numbers in groups.items()]


def _split(name: str) -> tuple[str, str, str]:
    """Split a name at its last number: of an address the last of all, else the last of the first label."""
    begin, end = name.find("@") + 1, len(name.partition(":")[0])
    if not re.fullmatch(r"[0-9.]+", name[begin:end]):
        end = begin + len(name[begin:end].partition(".")[0])
    found = re.match(r"(.*?)([0-9]{1,9})([^0-9]*)$", name[begin:end])
    if found is None:
        return name, "", ""
    return name[:begin] + found[1], found[2], found[3] + name[end:]


def _range(numbers: Sequence[str]) -> str:
    if len(numbers) == 1:
        return numbers[0]
    runs: list[list[str]] = []
    for number in sorted(numbers, key=int):
        if runs and int(runs[-1][-1]) + 1 == int(number):
            runs[-1].append(number)
        else:
            runs.append([number])
    return "[" + ",".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs) + "]"


def split(patterns: str) -> list[str]:
    """Split at commas outside brackets."""
    return [pattern.strip() for pattern in re.split(r",(?![^\[]*\])", patterns) if pattern.strip()]


def expand(pattern: str, where: str) -> Iterator[str]:
    """Yield the names that a pattern such as ``gold[2-7,9].example.org`` stands for. Raises UsageError.

    How many they are is known before the first of them is made.
    """
    if len(pattern) > _LONGEST:
        raise UsageError(f"{where}: {pattern[:40]!r}... is too long for a host", "separate hosts, one word each")
    *texts, last = _RANGE.split(pattern)
    ranges = [list(_numbers(text, pattern, where)) for text in texts[1::2]]
    count = 1
    for numbers in ranges:
        count *= sum(len(span) for span, _ in numbers)
        if count > MAX_HOSTS:
            raise UsageError(f"{where}: {pattern!r} is more than {MAX_HOSTS} hosts", "name fewer hosts")
    written = [[str(number).zfill(width) for span, width in numbers for number in span] for numbers in ranges]
    for chosen in itertools.product(*written):
        name = "".join(itertools.chain.from_iterable(zip(texts[::2], chosen, strict=True))) + last
        if not HOST.fullmatch(name):
            raise UsageError(
                f"{where}: {pattern!r} is no host", "give names such as gold1, ada@gold1:2222 or gold[2-7]"
            )
        yield name


def _numbers(text: str, pattern: str, where: str) -> Iterator[tuple[range, int]]:
    """Yield the ranges of numbers between brackets, and to how many digits each is filled up. Raises UsageError."""
    for item in text.split(","):
        bounds = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", item.strip())
        if bounds is None:
            raise UsageError(f"{where}: {pattern!r} is no range of hosts", "write it as gold[2-7,9] or node[01-12]")
        first, last = bounds[1], bounds[2] or bounds[1]
        if int(last) < int(first):
            raise UsageError(f"{where}: {pattern!r} counts down from {first} to {last}", f"write [{last}-{first}]")
        yield range(int(first), int(last) + 1), len(first) if first.startswith("0") else 0
