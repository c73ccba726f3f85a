"""Lists of what is left out are read, and what makes no sense in one is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cncp.errors import UsageError
from cncp.netboot.mkimg import exclude_lists


def test_usual_lists_can_be_read() -> None:
    """Ours hold what they are to, and leave alone what somebody put into a tree."""
    usual = exclude_lists.patterns(exclude_lists.USUAL, "usual")
    assert "/proc/*" in usual
    assert not [pattern for pattern in usual if pattern.startswith(("/home", "/usr", "/opt"))]
    assert "/home/*" in exclude_lists.patterns(exclude_lists.OF_A_NODE, "of a node")


def test_comments_and_options(tmp_path: Path) -> None:
    """A file may say why; tar gets the paths as it writes them."""
    path = tmp_path / "excluded"
    path.write_text("# why\n\n /opt/big/ \n/var/log/*.gz\n")
    found = exclude_lists.read(path)
    assert found == ["/opt/big/", "/var/log/*.gz"]
    assert exclude_lists.tar_options(found)[-2:] == ["--exclude=./opt/big", "--exclude=./var/log/*.gz"]


@pytest.mark.parametrize("line", ["opt", "/", "/*", "//", "./x", "/opt/../etc", "+/usr/include", "--exclude=/x"])
def test_what_is_no_path(tmp_path: Path, line: str) -> None:
    """It is refused, with the number of its line."""
    path = tmp_path / "excluded"
    path.write_text(f"/tmp/*\n{line}\n")
    with pytest.raises(UsageError, match="line 2"):
        exclude_lists.read(path)


def test_what_is_no_list(tmp_path: Path) -> None:
    """Neither a missing file, a folder, nor one of bytes is taken for one."""
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name in ("none", ".", "bytes"):
        with pytest.raises(UsageError, match="cannot be read"):
            exclude_lists.read(tmp_path / name)
