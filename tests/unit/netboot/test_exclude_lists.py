"""Lists of what is left out are read, and what makes no sense in one is named with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cncp.errors import UsageError
from cncp.netboot.mkimg import exclude_lists
from cncp.netboot.mkimg.in_tree import Tree


def test_usual_lists_can_be_read() -> None:
    """Ours hold what they are to, and leave alone what somebody put into a tree."""
    usual = exclude_lists.patterns(exclude_lists.USUAL, "usual")
    assert "/proc/*" in usual
    assert not [pattern for pattern in usual if pattern.startswith(("/home", "/usr", "/opt"))]
    assert "/home/*" in exclude_lists.patterns(exclude_lists.OF_A_NODE, "of a node")


@pytest.mark.parametrize(
    "name", ["etc/ssl/private/node.key", "etc/pki/tls/private/node.key", "etc/wireguard/wg0.conf", "root/.netrc"]
)
def test_keys_of_a_node(tmp_path: Path, name: str) -> None:
    """They are in no image of it: whoever asks is given that. What is public stays."""
    public = tmp_path / "etc/ssl/certs/node.pem"
    for path in (public, tmp_path / name):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    Tree(tmp_path).prune(exclude_lists.patterns(exclude_lists.OF_A_NODE, "of a node"))
    assert public.exists()
    assert not (tmp_path / name).exists()


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
