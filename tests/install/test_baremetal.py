"""The script itself: what it does before Python takes over, with a stand-in for the code it gets."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cncp.files import to_json
from cncp.install import source_code
from cncp.release import installer

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "baremetal.sh"
STAND_IN = "import os, sys; print('{}', os.path.dirname(os.path.abspath(__file__)), sys.argv[1:])\n"


class Lone:
    """A copy of the script, alone in a home, and a repository to get the code from."""

    def __init__(self, home: Path, repository: Path) -> None:
        self.home = home
        self.repository = repository
        self.script = home / "baremetal.sh"
        self.code = home / ".local" / "share" / "cncp" / "code"
        shutil.copy(SCRIPT, self.script)
        self.git("init", "--quiet", "--initial-branch=main", str(repository), at=home)
        self.commit("first")

    def git(self, *words: str, at: Path | None = None) -> str:
        """Run git in the repository."""
        author = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        argv = ["git", "-C", str(at or self.repository), *author, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, word: str) -> str:
        """Commit code that says ``word``, and things that provisioning does not need."""
        for name in ("bootstrap", "cookbooks", "notebooks", "roles", "tests"):
            (self.repository / name).mkdir(exist_ok=True)
            (self.repository / name / "file").write_text(word)
        (self.repository / "bootstrap" / "stage0.py").write_text(STAND_IN.format(word))
        self.git("add", ".")
        self.git("commit", "--quiet", "-m", word)
        return self.git("rev-parse", "HEAD")

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the script without a terminal."""
        environment = {**os.environ, "CNCP_REPO_URL": self.repository.as_uri(), **variables}
        argv = ["setsid", "bash", str(self.script), *words]
        return subprocess.run(
            argv, env=environment, cwd=self.home, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )


@pytest.fixture
def lone(home: Path, tmp_path: Path) -> Lone:
    """Return a script alone in a home."""
    return Lone(home, tmp_path / "a repository")


def test_help_is_the_table_of_settings(home: Path) -> None:
    """The text about options in the script is the one that the settings make, and needs no Python."""
    script = SCRIPT.read_text()
    assert installer.with_options(script) == script, "run: cncp dist.options"
    shutil.copy(SCRIPT, home)
    done = subprocess.run(
        ["/bin/bash", "baremetal.sh", "--engines", "4", "--help"], cwd=home, env={"PATH": "/nonexistent"}, check=False
    )
    assert done.returncode == 127, "cat is the only program that the help needs"
    for folder in ("/usr/bin", "/bin"):
        if Path(folder, "cat").exists():
            (home / "bin").mkdir(exist_ok=True)
            (home / "bin" / "cat").unlink(missing_ok=True)
            (home / "bin" / "cat").symlink_to(Path(folder, "cat"))
    said = subprocess.run(
        ["/bin/bash", "baremetal.sh", "-h"], cwd=home, env={"PATH": str(home / "bin")}, capture_output=True, check=True
    ).stdout.decode()
    assert said.startswith("usage: bash ./baremetal.sh")
    assert installer.options() in said
    assert max(map(len, said.splitlines())) <= 100


def test_a_script_that_was_cut_off_does_nothing(home: Path) -> None:
    """Wherever the copy ends, nothing is run."""
    content = SCRIPT.read_bytes()
    end = len(content.rstrip())
    cuts = [*range(0, end, end // 40), *range(end - 25, end)]
    for cut in cuts:
        done = subprocess.run(
            ["/bin/bash", "-s", "--", "--help"], input=content[:cut], cwd=home, capture_output=True, check=False
        )
        assert done.stdout == b"", cut
        assert list(home.iterdir()) == []
    whole = subprocess.run(["/bin/bash", "-s", "--", "--help"], input=content, capture_output=True, check=True)
    assert whole.stdout.startswith(b"usage")


def test_a_lone_script_gets_only_what_it_needs(lone: Lone) -> None:
    """The clone is shallow and sparse; a new commit comes with the next run; arguments arrive as they were."""
    lone.commit("second")
    words = ["--file", "a b'c\"d$e%f *ü.toml"]
    done = lone.run(*words)
    assert done.stdout == f"second {lone.code / 'bootstrap'} {words}\n"
    assert sorted(path.name for path in lone.code.iterdir()) == [".git", "bootstrap", "cookbooks", "notebooks", "roles"]
    assert lone.git("rev-list", "--count", "HEAD", at=lone.code) == "1"
    before = lone.code.stat().st_ino
    assert lone.run().stderr == ""
    assert lone.code.stat().st_ino == before
    lone.commit("third")
    assert lone.run("--quiet").stderr == ""
    assert lone.run().stdout.startswith("third")


def test_branches_tags_and_commits(lone: Lone) -> None:
    """CNCP_REF may be each of them; one that is not there is refused, or leaves the code as it is."""
    first = lone.git("rev-parse", "HEAD")
    lone.git("tag", "-a", "v1", "-m", "one")
    lone.git("config", "uploadpack.allowAnySHA1InWant", "true")
    lone.commit("second")
    lone.git("checkout", "--quiet", "-b", "topic/one")
    lone.commit("third")
    lone.git("checkout", "--quiet", "main")
    refused = lone.run(CNCP_REF="nowhere")
    assert refused.returncode == 1
    assert "did not give nowhere" in refused.stderr
    assert not lone.code.exists()
    for ref, word in (
        ("v1", "first"),
        ("topic/one", "third"),
        ("main", "second"),
        (first, "first"),
        ("HEAD", "second"),
    ):
        assert lone.run(CNCP_REF=ref).stdout.startswith(word), ref
    assert "going on with the code of the last run" in lone.run(CNCP_REF="nowhere").stderr


def test_a_url_out_of_reach(lone: Lone) -> None:
    """The first run fails with two lines; a later one warns and goes on."""
    first = lone.run(CNCP_REPO_URL="file:///nonexistent/repository")
    assert (first.returncode, len(first.stderr.splitlines())) == (1, 2)
    assert lone.run().returncode == 0
    later = lone.run(CNCP_REPO_URL="file:///nonexistent/repository")
    assert later.stdout.startswith("first")
    assert later.stderr.startswith("warning: file:///nonexistent/repository cannot be reached; going on")


@pytest.mark.parametrize("name", ["plain", "with space", "a'b\"c", "ü$HOME%s", "-dash", "*"])
def test_paths_of_any_kind(lone: Lone, name: str) -> None:
    """Home, repository and script may lie in folders of any name, in a locale of any kind."""
    state = lone.home / name / "state"
    moved = lone.repository.with_name(name)
    lone.repository.rename(moved)
    done = lone.run(CNCP_HOME=str(state), CNCP_REPO_URL=str(moved), LC_ALL="C", CDPATH="/tmp")
    assert done.stdout == f"first {state / 'code' / 'bootstrap'} []\n", done.stderr
    beside = lone.home / name
    shutil.copy(lone.script, beside)
    shutil.copytree(moved / "bootstrap", beside / "bootstrap")
    argv = ["bash", "baremetal.sh", "--profile=x y"]
    done = subprocess.run(argv, cwd=beside, capture_output=True, text=True, check=True)
    assert done.stdout == f"first {beside / 'bootstrap'} ['--profile=x y']\n"


def test_a_run_that_is_killed_harms_no_later_one(lone: Lone) -> None:
    """What a killed run left, at any point of getting the code, is no obstacle."""
    lone.run()
    lone.commit("second")
    new, old = lone.code.with_name("code.new"), lone.code.with_name("code.old")
    shutil.copytree(lone.code, new)
    (new / ".git" / "index.lock").touch()
    (new / "bootstrap" / "stage0.py").unlink()
    lone.code.rename(old)
    assert lone.run().stdout.startswith("second")
    assert sorted(path.name for path in lone.code.parent.iterdir()) == ["code", "code.lock", "parents"]


def test_two_runs_at_a_time(lone: Lone) -> None:
    """Two runs do not get in each other's way."""
    argv = ["bash", str(lone.script)]
    environment = {**os.environ, "CNCP_REPO_URL": lone.repository.as_uri()}
    runs = [subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [run.communicate()[0].split(" ")[0] for run in runs] == ["first"] * 3


def test_nothing_is_asked_where_nobody_can_answer(lone: Lone) -> None:
    """A server that wants a password is an error without a terminal, not a prompt."""

    class Closed(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="code"')
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as it is called
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Closed) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/code.git"
        done = lone.run(CNCP_REPO_URL=url, CNCP_PLAIN_URL="true", http_proxy="")
        server.shutdown()
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "variables", "status"),
    [
        (["--frobnicate"], {}, 2),
        (["--engin=3"], {}, 2),
        ([], {"CNCP_REPO_URL": ""}, 2),
        ([], {"CNCP_REPO_URL": "--upload-pack=touch x"}, 2),
        ([], {"CNCP_REF": "--upload-pack=touch x"}, 2),
        ([], {"CNCP_REF": "a b"}, 2),
        ([], {"CNCP_REPO_URL": "http://127.0.0.1:9/x.git"}, 2),
        ([], {"CNCP_REPO_URL": "git://127.0.0.1:9/x.git", "CNCP_REF": "main"}, 2),
        ([], {"CNCP_HOME": "/tmp/a:b"}, 4),
        ([], {"CNCP_HOME": "/tmp/a\nb"}, 4),
        (["status"], {}, 2),
        (["--python", "3.77"], {}, 4),
        (["--python", "3.1"], {}, 4),
        (["--offline", "missing.tar"], {}, 2),
        ([], {"CNCP_OFFLINE": "baremetal.sh"}, 2),
        ([], {"CNCP_PYTHON": "/nonexistent/python"}, 4),
        (["--python", "/bin/true", "--python=/bin/false"], {}, 4),
        ([], {"CNCP_HOME": "/proc/nowhere"}, 4),
    ],
)
def test_what_makes_no_sense_changes_nothing(
    lone: Lone, words: list[str], variables: dict[str, str], status: int
) -> None:
    """Bad input to a lone script: two lines, the right exit code, no code fetched."""
    done = lone.run(*words, **variables)
    assert done.returncode == status, done.stderr
    assert [line.split(":")[0] for line in done.stderr.splitlines()[-2:]] == ["error", "hint"]
    assert not lone.code.exists()


def test_the_clock_of_another_locale(lone: Lone) -> None:
    """Where the locale's decimal sign is a comma, or bash has no such clock, the time is a number."""
    lone.repository.joinpath("bootstrap", "stage0.py").write_text("import os; print(float(os.environ['CNCP_BEGAN']))")
    lone.git("commit", "--quiet", "-am", "clock")
    script = lone.script.read_text()
    for instead in ("1790000000,123456", "${NO_SUCH_CLOCK:-$(date +%s)}"):
        lone.script.write_text(script.replace("${EPOCHREALTIME:-$(date +%s)}", instead))
        assert float(lone.run().stdout) > 1.7e9


def bundled(path: Path, word: str, **altered: bytes | None) -> str:
    """Write a bundle whose code says ``word`` and return its digest; ``altered`` members are not as listed."""
    members = {"code/bootstrap/stage0.py": STAND_IN.format(word).encode(), "wheels/a.whl": b"a"}
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    for name in list(members):
        new = altered.get(Path(name).stem, members[name])
        members.pop(name)
        if new is not None:
            members[name] = new
    if extra := altered.get("extra"):
        members["code/extra.py"] = extra
    archived = {"manifest.json": to_json({"members": listed}), **members}
    with path.open("wb") as stream:
        source_code.pack(stream, [(name, content, 0o644) for name, content in archived.items()])
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_bundle_is_checked_before_its_code_runs(lone: Lone) -> None:
    """Code or wheels that are not as the manifest has them, more of it or less, or another bundle: none of it runs."""
    path = lone.home / "a bundle.tar"
    for altered, why in (
        ({"stage0": b"print('TAMPERED')"}, "stage0.py is not what it was"),
        ({"a": b"b"}, "a.whl is not what it was"),
        ({"a": None}, "a.whl is missing"),
        ({"extra": b"x"}, "extra.py is not in its manifest"),
    ):
        bundled(path, "bad", **altered)
        done = lone.run("--offline", str(path))
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert why in done.stderr
        assert not lone.code.exists()
    digest = bundled(path, "good")
    for wrong in ("0" * 64, "x"):
        assert lone.run("--offline", str(path), "--offline-digest", wrong).returncode == 2
        assert not lone.code.exists()
    assert lone.run("--offline", str(path), CNCP_OFFLINE_DIGEST=digest.upper()).stdout.startswith("good")
    assert "unpacked" not in lone.run("--offline", str(path)).stderr
    bundled(path, "better")
    assert lone.run("--offline", str(path), "--offline-digest", digest).returncode == 2
    assert lone.run("--offline", str(path)).stdout.startswith("better")


def test_what_is_set_for_a_login_does_not_count(lone: Lone, tmp_path: Path) -> None:
    """Functions, options of git and tar, folders of modules, whatever umask: the same code runs the same way."""
    hostile = {
        **dict.fromkeys(("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CONFIG"), "/nonexistent"),
        **dict.fromkeys(("TAR_OPTIONS", "GREP_OPTIONS"), "--frobnicate"),
        "BASH_FUNC_cd%%": '() { builtin cd "$@"; ls; }',
        "BASH_FUNC_git%%": "() { echo mine; }",
        "CDPATH": f"{tmp_path}:/",
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": "/nonexistent",
        "GIT_TRACE": "1",
    }
    (tmp_path / "os.py").write_text("raise SystemExit('not the one of Python')")
    (lone.home / ".gitconfig").write_text(
        "[core]\nautocrlf = true\nhooksPath = /nonexistent\n[init]\ntemplateDir = /x\n"
    )
    seen = (
        "import os; print('seen', os.umask(0), [n for n in os.environ if n.startswith(('PYTHON', 'TAR_', 'GIT_DIR'))])"
    )
    (lone.repository / "bootstrap" / "stage0.py").write_text(seen)
    lone.git("commit", "--quiet", "-am", "seen")
    for shell in ("bash", "sh"):
        argv = [shell, str(lone.script)]
        environment = {**os.environ, "CNCP_REPO_URL": lone.repository.as_uri(), **hostile}
        done = subprocess.run(
            ["sh", "-c", 'umask 0; exec "$@"', "sh", *argv],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == f"seen {0o022} []\n", done.stderr
    assert lone.code.stat().st_mode & 0o022 == 0
    assert (lone.home / ".local").stat().st_mode & 0o022 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder somebody else's")
def test_a_home_of_somebody_else(lone: Lone, tmp_path: Path) -> None:
    """Code is put nowhere that another account owns or can write to."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(0o777)
    for place in (theirs / "state", theirs):
        assert lone.run(CNCP_HOME=str(place)).returncode == 4
    theirs.chmod(0o755)
    os.chown(theirs, 65534, 65534)
    assert lone.run(CNCP_HOME=str(theirs / "state")).returncode == 4
    assert list(theirs.iterdir()) == []


def test_a_python_that_will_not_do(lone: Lone, tmp_path: Path) -> None:
    """It does not exist, is none, or is too old: each is said, and which version it is."""
    old = tmp_path / "old"
    old.write_text("#!/bin/sh\ncase $3 in *exit*) exit 1 ;; *) echo 3.8.18 ;; esac\n")
    old.chmod(0o755)
    for named, why in (
        (str(old), "is Python 3.8.18; 3.10"),
        ("/nonexistent", "no program"),
        ("/bin/false", "is not a Python"),
    ):
        assert why in lone.run("--python", named).stderr
