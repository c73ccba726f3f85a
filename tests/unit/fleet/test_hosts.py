"""Hosts chosen, commands run, files copied and hardware looked at, on this machine as the only host."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cncp.config import selection
from cncp.config.inventory import HostSpec
from cncp.console import Console
from cncp.errors import CncpError, UsageError
from cncp.fleet import hardware, hardware_report
from cncp.fleet.adhoc import conclude, run
from cncp.ssh import transfer
from cncp.ssh.connection import Local
from cncp.ssh.host_errors import HostError
from cncp.tasks.task import remainder

from ..refusal import ran
from ..source import syntax

UNIQUE = f"54321.{os.getpid()}"
"""Seconds that no program sleeps but those of this run."""

HERE = Local(HostSpec("localhost"))
CODE = Path(__file__).resolve().parents[3] / "bootstrap"


def cncp(*words: str, folder: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a task with this code, in a folder, and hold its exit code."""
    done = ran(folder, words, PYTHONPATH=str(CODE))
    assert done.returncode == status, done.stdout + done.stderr
    return done


def names(hosts: str = "", limit: str = "", file: Path | None = None) -> list[str]:
    """Return whom a command line means."""
    home = Path(os.environ["HOME"]) / "cncp"
    return [host.name for host in selection.chosen(str(file) if file else None, hosts, limit, {}, home)]


def test_hosts_come_from_the_command_line_or_the_file(tmp_path: Path) -> None:
    """Ranges with commas; what the file says of a host counts; this machine is meant only where it is named."""
    file = tmp_path / "cluster.toml"
    file.write_text('[[pool]]\nhosts = ["gold[2-4]"]\nuser = "ada"\nport = 2222\n')
    assert names("gold[2-3],x", file=file) == ["gold2", "gold3", "x"]
    assert names(file=file) == ["gold2", "gold3", "gold4"]
    assert names(limit="gold[3-4]", file=file) == ["gold3", "gold4"]
    assert names("gold[2-4]", "gold4", file=file) == ["gold4"]
    found = selection.chosen(str(file), "gold2,bob@gold3", "", {}, tmp_path)
    assert (found[0].user, found[0].port, found[1].user, found[1].port) == ("ada", 2222, "bob", 0)
    file.write_text('controller = "gold1"\n[[pool]]\nhosts = ["gold2"]\n')
    assert names(file=file) == ["gold1", "gold2"]
    file.write_text('[[pool]]\nhosts = ["localhost", "gold2"]\n')
    assert names(file=file) == ["localhost", "gold2"]


@pytest.mark.parametrize(
    ("words", "status"), [(["true"], 0), (["false"], 1), (["nosuchprogram"], 127), (["sh", "-c", "exit 255"], 255)]
)
def test_exit_codes_are_the_command_s(words: list[str], status: int) -> None:
    """Whatever a command exits with is what is reported, also what ssh itself would exit with."""
    assert run(HERE, words, 10, Console(io.StringIO(), io.StringIO()), threading.Lock(), quiet=True).status == status


def test_no_shell_reads_the_words(tmp_path: Path) -> None:
    """Arguments arrive as they were given, and lines are prefixed with the host."""
    out, err = io.StringIO(), io.StringIO()
    words = ["printf", "%s\n", "a;b", "$HOME", "`id`", "*", "x  y", "'"]
    run(HERE, words, 10, Console(out, err), threading.Lock(), quiet=False)
    assert out.getvalue() == "".join(f"[localhost] {word}\n" for word in words[2:])
    done = cncp("hosts.run", "--hosts=localhost", "--", "printf", "%s|", "--x", "a b", "--", folder=tmp_path)
    assert done.stdout == "[localhost] --x|a b|--|\n"
    assert remainder(["cncp", "hosts.run"]) == []


def test_a_command_that_does_not_end_is_ended_on_its_host() -> None:
    """After the time-out the command itself is gone, not only the way to it."""
    with pytest.raises(HostError, match="no end after 1 s") as caught:
        run(HERE, ["sleep", UNIQUE], 1, Console(io.StringIO(), io.StringIO()), threading.Lock(), quiet=True)
    assert "--timeout" in caught.value.hint
    assert subprocess.run(["pgrep", "-fx", f"sleep {UNIQUE}"], check=False, stdout=subprocess.DEVNULL).returncode == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_the_commands(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C and other signals end what runs on the hosts, and then the program, without a traceback."""
    argv = [
        sys.executable,
        "-m",
        "cncp",
        "hosts.run",
        "--hosts=localhost",
        "--",
        "sh",
        "-c",
        f"echo on; exec sleep {UNIQUE}",
    ]
    env = {**os.environ, "PYTHONPATH": str(CODE)}
    with subprocess.Popen(
        argv, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "[localhost] on\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err
    deadline = time.monotonic() + 5
    while subprocess.run(["pgrep", "-fx", f"sleep {UNIQUE}"], check=False, stdout=subprocess.DEVNULL).returncode == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_command_has_no_input(tmp_path: Path) -> None:
    """One that reads finds the end at once, and what it leaves in the background holds nothing up."""
    words = ["sh", "-c", f"cat; echo done; sleep {UNIQUE} >/dev/null 2>&1 </dev/null &"]
    done = run(HERE, words, 10, Console(io.StringIO()), threading.Lock(), quiet=True)
    assert done.stdout == ("done",)
    subprocess.run(["pkill", "-fx", f"sleep {UNIQUE}"], check=False)


def test_output_without_end_or_lines_is_taken(tmp_path: Path) -> None:
    """Output that is not text, and a last line without its end, do no harm."""
    done = run(HERE, ["printf", r"a\377b\nend"], 10, Console(io.StringIO()), threading.Lock(), quiet=True)
    assert done.stdout == ("a�b", "end")


def test_failed_hosts_have_a_line_each(tmp_path: Path) -> None:
    """Exit code 3, what worked is shown, who failed and why as well; also as JSON."""
    done = cncp("hosts.run", "--hosts=localhost", "--", "sh", "-c", "echo yes; exit 4", folder=tmp_path, status=3)
    assert done.stdout == "[localhost] yes\n"
    assert done.stderr.splitlines()[0].startswith("[localhost] failed: exited with 4 (")
    assert "--limit localhost" in done.stderr.splitlines()[-1]
    done = cncp("hosts.run", "--hosts=localhost", "--json", "--", "sh", "-c", "exit 4", folder=tmp_path, status=3)
    assert json.loads(done.stdout)["failed"] == {"localhost": "exited with 4"}
    with pytest.raises(CncpError) as caught:
        conclude({"x": HostError("x", "what", "hint")}, 2, Console(err=io.StringIO()))
    assert caught.value.exit_code == 3


ODD = ["plain", " lead and trail ", "-rf", "a'b\"c", "line\nbreak", "grün", "$HOME", "*"]


def odd_folder(top: Path) -> Path:
    """Make a folder with names and content that are not plain."""
    folder = top / "-odd 'folder'"
    (folder / "empty").mkdir(parents=True)
    for number, name in enumerate(ODD):
        (folder / name).write_bytes(bytes(range(256)) * (number + 1))
        (folder / name).chmod(0o600 if number % 2 else 0o755)
    with open(os.fsencode(folder) + b"/\xff\xfe", "wb") as stream:
        stream.write(b"name that is no text")
    (folder / "link").symlink_to("plain")
    (folder / "same").hardlink_to(folder / "plain")
    return folder


def content(folder: Path) -> dict[bytes, tuple[int, bytes]]:
    """Return modes and content of all that is in a folder, links as what they say."""
    found = {}
    for top, folders, files in os.walk(os.fsencode(folder)):
        for name in folders + files:
            path = os.path.join(top, name)
            mode = os.lstat(path).st_mode
            payload = os.readlink(path) if stat.S_ISLNK(mode) else b"" if name in folders else open(path, "rb").read()  # noqa: SIM115
            found[os.path.relpath(path, os.fsencode(folder))] = (mode, payload)
    return found


def test_there_and_back(tmp_path: Path, home: Path) -> None:
    """Binary content, odd names, modes and links survive the way to a host and back."""
    folder = odd_folder(tmp_path)
    with transfer.packed(folder) as archive:
        transfer.put(HERE, archive, folder, "new/-copy", 20, force=False)
    assert content(home / "new/-copy") == content(folder)
    transfer.get(HERE, "new/-copy", tmp_path / "got" / "-copy", 20, force=False)
    assert content(tmp_path / "got" / "-copy") == content(folder)
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["-copy"]
    assert [path.name for path in (home / "new").iterdir()] == ["-copy"]


def test_put_goes_into_folders_and_replaces_only_by_force(tmp_path: Path, home: Path) -> None:
    """As cp: into a folder that is there or a path with a slash at its end."""
    file = tmp_path / "-file"
    file.write_bytes(b"one")
    (home / "there").mkdir()

    def put(remote: str, *, force: bool = False) -> None:
        with transfer.packed(file) as archive:
            transfer.put(HERE, archive, file, transfer.remote_path(remote), 20, force=force)

    put("there")
    put("made/")
    put("~/plain")
    assert [(home / name).read_bytes() for name in ("there/-file", "made/-file", "plain")] == [b"one"] * 3
    file.write_bytes(b"two")
    with pytest.raises(HostError, match="exists there"):
        put("plain")
    assert (home / "plain").read_bytes() == b"one"
    put("plain", force=True)
    assert (home / "plain").read_bytes() == b"two"
    (home / "there" / "-file").unlink()
    (home / "there" / "-file").mkdir()
    with pytest.raises(HostError, match="no file"):
        put("there", force=True)
    assert sorted(path.name for path in home.iterdir()) == ["made", "plain", "there"]


def test_get_never_overwrites(tmp_path: Path, home: Path) -> None:
    """What is there stays, with nothing beside it, unless --force is given; what is missing is a failure."""
    (home / "f").write_text("new")
    target = tmp_path / "h" / "f"
    target.parent.mkdir()
    target.write_text("old")
    with pytest.raises(CncpError, match="exists"):
        transfer.get(HERE, "f", target, 20, force=False)
    assert target.read_text() == "old"
    transfer.get(HERE, "f", target, 20, force=True)
    assert target.read_text() == "new"
    with pytest.raises(HostError, match="there is no such file or folder"):
        transfer.get(HERE, "absent", tmp_path / "h" / "absent", 20, force=False)
    assert [path.name for path in target.parent.iterdir()] == ["f"]
    cncp("hosts.get", "--hosts=localhost", "f", "out", folder=tmp_path)
    done = cncp("hosts.get", "--hosts=localhost", "f", "out", folder=tmp_path, status=2)
    assert done.stderr.startswith("error: 'out/localhost/f' exists\nhint: ")


def test_an_archive_of_a_bad_host_stays_in_its_folder(tmp_path: Path) -> None:
    """Paths that climb out, links that point out and devices are left out."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, kind, link in (
            ("../evil", tarfile.REGTYPE, ""),
            ("/tmp/evil", tarfile.REGTYPE, ""),
            ("out", tarfile.SYMTYPE, "../.."),
            ("out/evil", tarfile.REGTYPE, ""),
            ("abs", tarfile.SYMTYPE, "/etc/passwd"),
            ("hard", tarfile.LNKTYPE, "../../etc/passwd"),
            ("dev", tarfile.CHRTYPE, ""),
            ("good", tarfile.REGTYPE, ""),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, link
            entry.mode = 0o4755
            tar.addfile(entry)
    archive.seek(0)
    folder = tmp_path / "in"
    folder.mkdir()
    transfer.unpack(archive, folder)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if "home" not in path.parts) == [
        "in",
        "in/good",
        "in/out",
        "in/out/evil",
    ]
    assert stat.S_IMODE((folder / "good").stat().st_mode) == 0o755


LINKS = {
    # The archive with which a host has a link made to a file three levels above the copy.
    "it/p/q/r/s": ("../../..", True),
    "it/t": ("p/q/r/s/../../../secret", False),
    "it/y": ("../y", False),
    "it/self": (".", True),
    "it/up": ("self/..", False),
    "it/later": ("zlast/../secret", False),
    "it/zlast": ("p/q", True),
    "it/down": ("zlast/r/f", True),
    "it/p/q/r/f2": ("../../../p/q/r/f", True),
    "it/p/dangling": ("nowhere", True),
    "it/abs": ("/etc/passwd", False),
    "top": ("it", False),
}
"""Links of an archive: what they say, and whether they are made."""


def archive_of(links: Mapping[str, str], folders: Sequence[str], files: Sequence[str]) -> io.BytesIO:
    """Return a tar of folders, files and links."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for names, kind in ((folders, tarfile.DIRTYPE), (files, tarfile.REGTYPE), (links, tarfile.SYMTYPE)):
            for name in names:
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = kind, 0o755
                entry.linkname = links.get(name, "")
                tar.addfile(entry)
    made.seek(0)
    return made


def leads_to(folder: Path) -> set[str]:
    """Return where the links in a folder lead, from it."""
    found = {link for link in folder.rglob("*") if link.is_symlink()}
    return {os.path.relpath(os.path.realpath(link), os.path.realpath(folder)) for link in found}


def test_links_of_a_bad_host_stay_in_the_copy(tmp_path: Path) -> None:
    """Followed one after another, as whoever opens them does: up from where another link leads is refused."""
    archive = archive_of({name: text for name, (text, _) in LINKS.items()}, ["it/p/q/r"], ["it/p/q/r/f"])
    folder = tmp_path / "in"
    folder.mkdir()
    transfer.unpack(archive, folder)
    made = {str(link.relative_to(folder)) for link in folder.rglob("*") if link.is_symlink()}
    assert made == {name for name, (_, wanted) in LINKS.items() if wanted}
    assert all(path == "it" or path.startswith("it/") for path in leads_to(folder))


NAMES = st.sampled_from(["a", "b", "c"])
PLACES = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: "it/" + "/".join(parts))
TEXTS = st.lists(NAMES | st.sampled_from(["..", "."]), min_size=1, max_size=6).map("/".join)


@settings(max_examples=100, deadline=None)
@given(links=st.dictionaries(PLACES, TEXTS, max_size=5), folders=st.lists(PLACES, max_size=4))
def test_no_set_of_links_leads_out(links: dict[str, str], folders: list[str]) -> None:
    """Whatever they say, and whatever they are made of."""
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top).resolve()
        with contextlib.suppress(OSError):
            # A file where a folder is to be: the copy fails as a whole.
            transfer.unpack(archive_of(links, folders, []), folder)
        assert all(path == "it" or path.startswith("it/") for path in leads_to(folder))


def test_a_name_twice_costs_that_host_alone(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file and a folder of one name, or a name that no disk takes, are what the host sent."""
    twice = io.BytesIO()
    with tarfile.open(fileobj=twice, mode="w") as tar:
        for name in ("it", "it/x"):
            tar.addfile(tarfile.TarInfo(name))
    (home / "twice.tar").write_bytes(twice.getvalue())
    monkeypatch.setattr(transfer, "_GET", 'cat "$1"')
    with pytest.raises(HostError, match="no archive"):
        transfer.get(HERE, "twice.tar", tmp_path / "out", 20, force=False)
    assert not (tmp_path / "out").exists()


def test_what_is_named_is_meant_even_by_a_link(tmp_path: Path, home: Path) -> None:
    """As in the other direction."""
    (home / "real").mkdir()
    (home / "real" / "f").write_text("x")
    (home / "link").symlink_to("real")
    transfer.get(HERE, "link", tmp_path / "got" / "link", 20, force=False)
    assert (tmp_path / "got" / "link" / "f").read_text() == "x"
    assert not (tmp_path / "got" / "link").is_symlink()


@pytest.mark.parametrize("path", ["", "/", ".", "..", "a/..", "~", "a\0b"])
def test_paths_that_are_none(path: str) -> None:
    """What names no file is refused before any host is asked."""
    with pytest.raises(UsageError):
        transfer.remote_path(path)


def test_hardware(tmp_path: Path, home: Path) -> None:
    """Every field is there and plausible; the cache has the same, and --cached asks nobody."""
    found = hardware_report.look(HERE, 30)
    assert set(found.to_json()) == set(hardware_report.FIELDS)
    assert found.cores == len(os.sched_getaffinity(0))
    assert found.memory > 2**27
    assert found.home == str(home)
    assert hardware.cpu() == found.cpu
    shown = cncp("hosts.facts", "--hosts=localhost", folder=tmp_path).stdout.splitlines()
    assert shown[0].split()[:3] == ["HOST", "CPU", "CORES"]
    cached = cncp("hosts.facts", "--hosts=localhost", "--cached", "--json", folder=tmp_path)
    assert json.loads(cached.stdout)["localhost"]["cores"] == found.cores
    table = cncp("hosts.facts", "--hosts=localhost", "--cached", "--csv", folder=tmp_path).stdout.splitlines()
    assert table[0] == "host," + ",".join(hardware_report.FIELDS)
    cncp("hosts.facts", "--hosts=localhost,other", "--cached", folder=tmp_path, status=3)


def test_hardware_is_asked_of_old_pythons() -> None:
    """What is sent to hosts is Python 3.7."""
    syntax(Path(hardware.__file__).read_text(), (3, 7))


def test_units_and_numbers() -> None:
    """Sizes and equal GPUs are shown as people write them."""
    assert hardware_report.size(512 * 2**20) == "512 MB"
    assert hardware_report.size(64 * 2**30) == "64 GB"
    assert hardware_report.counted(["A100", "A100", "T4"]) == "2 x A100, 1 x T4"
