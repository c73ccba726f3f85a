"""Names of hosts as ranges: gold2, gold3, gold4 are gold[2-4]."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def fold(names: Iterable[str]) -> list[str]:
    """Return names with those that differ in one number as ranges: gold2, gold3 are gold[2-3].

    The inverse of ``inventory.expand``; the order is that of the first name of each range.
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
