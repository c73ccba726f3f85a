"""In an image cidkid is started, and nothing is one machine's own or lets anybody in."""

from __future__ import annotations

import configparser
import subprocess
from pathlib import Path

import pytest

from cncp.errors import CncpError
from cncp.netboot import cidkid, engine_host
from cncp.netboot.mkimg import preparation
from cncp.netboot.mkimg.in_tree import Tree

from .small_tree import plant


def test_with_systemd(tmp_path: Path) -> None:
    """The unit is there and enabled; so is what it runs."""
    root = plant(tmp_path / "tree")
    preparation.prepare(Tree(root))
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(root / "etc/systemd/system/cidkid.service")
    assert unit["Service"]["ExecStart"].split()[-1] == f"/{preparation.AGENT}"
    wanted = root / "etc/systemd/system/multi-user.target.wants/cidkid.service"
    assert str(wanted.readlink()) == "/etc/systemd/system/cidkid.service"
    assert (root / preparation.AGENT).read_bytes() == Path(cidkid.__file__).read_bytes()
    for program in (f"{preparation.PROGRAMS}/drain", "usr/lib/cncp/node_name"):
        assert (root / program).stat().st_mode & 0o777 == 0o755
    for link in (root / "etc/systemd/system").glob("*.wants/*"):
        assert (root / str(link.readlink()).lstrip("/")).is_file()


def test_with_busybox(tmp_path: Path) -> None:
    """A line of its inittab starts it; a second time it is one line."""
    root = plant(tmp_path / "tree", systemd=False)
    preparation.prepare(Tree(root))
    preparation.prepare(Tree(root))
    assert (root / "etc/inittab").read_text() == f"::respawn:/usr/bin/python3 /{preparation.AGENT}\n"
    assert not (root / "etc/systemd").exists()


def test_nobody_can_log_in_by_a_password(tmp_path: Path) -> None:
    """Neither with one whose hash was in the tree, nor without any; the file's mode stays."""
    root = plant(tmp_path / "tree")
    (root / "etc/passwd").write_text("root::0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n")
    preparation.prepare(Tree(root))
    assert "$" not in (root / "etc/shadow").read_text()
    assert (root / "etc/shadow").read_text().splitlines()[0] == "root:*:20000:0:99999:7:::"
    assert (root / "etc/shadow").stat().st_mode & 0o777 == 0o640
    assert (root / "etc/passwd").read_text().splitlines() == [
        "root:*:0:0:root:/root:/bin/sh",
        "ada:x:1000:1000::/home/ada:/bin/sh",
    ]


def test_of_no_machine(tmp_path: Path) -> None:
    """Its name and number are not in the image; of its fstab what is shared is."""
    root = plant(tmp_path / "tree")
    (root / "etc/fstab").write_text(
        "# old\nUUID=1 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\nserver:/home /home nfs defaults 0 0\n"
        "tmpfs /scratch tmpfs size=1g 0 0\noverlay / overlay ro 0 0\n"
    )
    preparation.prepare(Tree(root))
    assert not (root / "etc/hostname").exists()
    assert (root / "etc/machine-id").read_text() == ""
    places = [line.split()[1] for line in (root / "etc/fstab").read_text().splitlines() if line[0] != "#"]
    assert places == ["/", "none", "/home", "/scratch"]


def test_labels_are_made_by_the_node(tmp_path: Path) -> None:
    """An image with SELinux labels its files when it boots first; others are left alone."""
    root = plant(tmp_path / "tree")
    preparation.prepare(Tree(root))
    assert not (root / ".autorelabel").exists()
    (root / "etc/selinux").mkdir()
    (root / "etc/selinux/config").write_text("# enforcing\nSELINUX=enforcing\n")
    preparation.prepare(Tree(root))
    assert (root / ".autorelabel").exists()


@pytest.mark.parametrize(
    ("missing", "told"),
    [("usr/bin/python3", "which cidkid runs on"), ("usr/lib/systemd/systemd", "would start cidkid")],
)
def test_what_no_image_can_be_made_of(tmp_path: Path, missing: str, told: str) -> None:
    """It says what is missing."""
    root = plant(tmp_path / "tree")
    (root / missing).unlink()
    with pytest.raises(CncpError, match=told):
        preparation.prepare(Tree(root))


def test_all_have_a_part_in_draining(tmp_path: Path) -> None:
    """Each program is waited for, and one that fails keeps the node where it is."""
    script, folder = tmp_path / "drain", tmp_path / "drain.d"
    script.write_text((preparation.IN_IMAGE / "each_of.sh").read_text().replace("/etc/cncp/", f"{tmp_path}/"))
    script.chmod(0o755)

    def drained() -> int:
        return subprocess.run([script], check=False).returncode

    assert drained() == 0
    folder.mkdir()
    (folder / "README").write_text("no program")
    (folder / "a").write_text(f"#!/bin/sh\necho a >> {tmp_path}/done\n")
    (folder / "b").write_text("#!/bin/sh\nexit 3\n")
    (folder / "a").chmod(0o755)
    assert drained() == 0
    (folder / "b").chmod(0o755)
    assert drained() == 3
    assert (tmp_path / "done").read_text() == "a\na\n"


def test_with_engines(tmp_path: Path) -> None:
    """Their programs are called by cidkid, those of draining beside others; the bundle is where they look for it."""
    root, bundle = plant(tmp_path / "tree"), tmp_path / "cncp.tar"
    bundle.write_text("bundle")
    preparation.prepare(Tree(root), bundle)
    assert engine_host.Place(root).bundle.read_text() == "bundle"
    for name in ("cidkid.d/join", "cidkid.d/leave", "drain.d/engines", "resume.d/engines"):
        text = (root / "etc/cncp" / name).read_text()
        assert "engine_host.py" in text
        assert (root / "usr/lib/cncp/engine_host.py").is_file()
        assert (root / "etc/cncp" / name).stat().st_mode & 0o111
    assert "engine_host" not in (root / "etc/cncp/cidkid.d/drain").read_text()
