"""A marked part of a file that otherwise belongs to the user, and is kept as it is."""

from __future__ import annotations

BEGIN = "# >>> cncp >>>"


END = "# <<< cncp <<<"


def split_block(text: str) -> tuple[str, bool, str]:
    """Return what stands before the marked part, whether there is one, and what stands after."""
    lines = text.splitlines(keepends=True)
    bare = [line.rstrip("\r\n") for line in lines]
    if BEGIN in bare and END in bare[bare.index(BEGIN) :]:
        begin = bare.index(BEGIN)
        end = bare.index(END, begin) + 1
        return "".join(lines[:begin]), True, "".join(lines[end:])
    return text, False, ""
