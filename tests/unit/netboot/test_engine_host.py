"""What an image with engines does, in a folder for its root, with programs that are played."""

from __future__ import annotations

import json
import pwd
import socket
import stat
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from cncp.netboot import engine_host
from cncp.netboot.engine_host import EngineHost, EngineHostError, Place, digest

SEED = json.dumps({"cluster": "1" * 16, "batch": "2" * 16, "key": "a", "join": "https://x"})


class Scene:
    """An image, and what was run in it."""

    def __init__(self, root: Path) -> None:
        self.place = Place(root)
        self.host = EngineHost(self.place, Path("/usr/lib/cncp/engine_host.py"))
        self.state = self.place.state(Path("/home/cncp"))
        self.ran: list[list[str]] = []
        self.fails = ""
        self.place.me.parent.mkdir(parents=True)
        self.place.me.write_text(json.dumps({"node": socket.gethostname()}))
        self.place.code.mkdir(parents=True)
        (self.place.code / "baremetal.sh").touch()

    def run(self, argv: list[str], input: str, **_: object) -> SimpleNamespace:  # noqa: A002  # as in subprocess.run
        """Play a program."""
        self.ran.append(argv[2:] if argv[0] == "bash" else argv)
        if "--join" in argv and not self.fails:
            assert input
            self.state.mkdir(parents=True, exist_ok=True)
            (self.state / "member.json").write_text(json.dumps({"cluster": json.loads(input)["cluster"]}))
        if "uninstall" in argv and not self.fails:
            (self.state / "member.json").unlink(missing_ok=True)
            self.state.rmdir()
        failed = bool(self.fails) and self.fails in argv
        said = "==> a\nerror: no controller\nhint: cncp firewall\n" if failed and "--join" in argv else ""
        return SimpleNamespace(returncode=int(failed), stderr=said)

    def did(self) -> list[list[str]]:
        """Return what was run since this was asked last."""
        done, self.ran = self.ran, []
        return done


JOIN = ["--offline", "cncp.tar", "--join", "-"]
UNINSTALL = ["cncp", "uninstall", "--quiet"]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Return an image in which nothing has happened yet."""
    made = Scene(tmp_path)
    monkeypatch.setattr(subprocess, "run", made.run)
    monkeypatch.setattr(pwd, "getpwnam", lambda _: SimpleNamespace(pw_dir="/home/cncp"))
    JOIN[1] = str(made.place.bundle)
    return made


def test_joining(scene: Scene) -> None:
    """Cidkid does not wait for it; once it is done, another boot of the image does nothing."""
    scene.host.join(SEED)
    assert stat.S_IMODE(scene.place.seed.stat().st_mode) == 0o600
    assert scene.did()[-1] == ["systemctl", "restart", "--no-block", engine_host.UNIT]
    scene.host.install()
    assert scene.did() == [JOIN]
    assert not scene.place.seed.exists()
    scene.host.join(SEED.replace("https://x", "https://y"))
    scene.did()
    scene.host.install()
    assert scene.did() == []
    scene.host.install()
    assert scene.did() == []


def test_another_key_and_another_cluster(scene: Scene) -> None:
    """Who is invited anew joins anew; what is left of another cluster goes before."""
    scene.host.join(SEED)
    scene.host.install()
    scene.host.join(SEED.replace('"a"', '"b"'))
    scene.did()
    scene.host.install()
    assert scene.did() == [JOIN]
    scene.host.join(SEED.replace("1" * 16, "9" * 16))
    scene.did()
    scene.host.install()
    assert scene.did() == [UNINSTALL, JOIN]


def test_what_fails_is_tried_again(scene: Scene) -> None:
    """By systemd: the seed stays, and nothing says that it has joined."""
    scene.fails = "--join"
    scene.host.join(SEED)
    with pytest.raises(EngineHostError, match=r"^no controller; cncp firewall$"):
        scene.host.install()
    assert scene.place.seed.exists()
    assert not scene.place.joined.exists()
    scene.fails = ""
    scene.host.install()
    assert scene.place.joined.read_text() == digest(SEED)


def test_leaving(scene: Scene) -> None:
    """Nothing of a cluster is left; where there was none, nothing is done."""
    scene.host.leave()
    stop = ["systemctl", "stop", engine_host.UNIT]
    assert scene.did() == [stop]
    scene.host.join(SEED)
    scene.host.install()
    scene.did()
    scene.host.leave()
    assert scene.did() == [stop, UNINSTALL]
    assert not scene.place.joined.exists()
    assert not scene.state.exists()


def test_leaving_that_fails(scene: Scene) -> None:
    """Says so, and is done when it is asked for again."""
    scene.host.join(SEED)
    scene.host.install()
    scene.fails = "uninstall"
    with pytest.raises(EngineHostError, match="status 1"):
        scene.host.leave()
    assert scene.place.joined.exists()
    scene.fails = ""
    scene.did()
    scene.host.leave()
    assert scene.did()[-1] == UNINSTALL
    assert not scene.place.joined.exists()


def test_draining(scene: Scene) -> None:
    """The account's own code sees to that, where there is one; a joining that was held up goes on afterwards."""
    scene.host.drain()
    assert scene.did() == [["systemctl", "stop", engine_host.UNIT]]
    scene.host.join(SEED)
    scene.did()
    scene.host.resume()
    assert scene.did() == [["systemctl", "restart", "--no-block", engine_host.UNIT]]
    scene.host.install()
    (scene.state / "node.json").touch()
    scene.did()
    scene.host.drain()
    assert scene.did()[-1][:4] == ["runuser", "-u", "cncp", "--"]
    scene.host.resume()
    assert scene.did()[-1][-3:] == ["cncp.remote", "work", "resume"]


def test_the_hosts_name(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the node's, by which its engines are known; a file that does not say is told."""
    named: list[str] = []
    monkeypatch.setattr(socket, "sethostname", named.append)
    scene.place.me.write_text(json.dumps({"node": "n77"}))
    scene.host.join(SEED)
    scene.host.install()
    assert named == ["n77"]
    assert (scene.place.root / "etc/hostname").read_text() == "n77\n"
    for text in ("", "[]", "{}"):
        scene.place.me.write_text(text)
        scene.host.join(SEED)
        with pytest.raises(EngineHostError, match="which node this is"):
            scene.host.install()


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", "3", '{"cluster": 1}', "\0"])
def test_what_is_no_seed(scene: Scene, text: str) -> None:
    """Begins nothing."""
    with pytest.raises(EngineHostError, match="no seed"):
        scene.host.join(text)
    assert not scene.place.seed.exists()
    assert scene.did() == []


def test_the_code_is_the_bundles(scene: Scene) -> None:
    """Unpacked once, all or nothing; an image without a bundle says so."""
    for path in (scene.place.code / "baremetal.sh", scene.place.code):
        path.unlink() if path.is_file() else path.rmdir()
    scene.host.join(SEED)
    with pytest.raises(EngineHostError, match="has no code"):
        scene.host.install()
    script = scene.place.root / "baremetal.sh"
    script.write_text("true\n")
    with tarfile.open(scene.place.bundle, "w") as bundle:
        bundle.add(script, "code/baremetal.sh")
        bundle.add(script, "wheels/a.whl")
    scene.host.install()
    assert [path.name for path in scene.place.code.iterdir()] == ["baremetal.sh"]
    assert JOIN in scene.did()


def test_it_stands_alone(tmp_path: Path) -> None:
    """By the standard library, as the programs that cidkid calls do."""
    files = engine_host.files()
    assert {path.rpartition("/")[2] for path in files} == {*engine_host.PROGRAMS, "engine_host.py"}
    assert {mode for _, mode in files.values()} == {0o755}
    program = tmp_path / "engine_host.py"
    program.write_bytes(files["usr/lib/cncp/engine_host.py"][0])
    for words in ([], ["rm"], ["join", "x"]):
        done = subprocess.run(
            [sys.executable, "-S", "-I", program, *words], capture_output=True, text=True, check=False
        )
        assert (done.returncode, "is none of join, leave" in done.stderr) == (2, True), done.stderr
