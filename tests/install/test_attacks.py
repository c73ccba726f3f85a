"""Root never runs, and never believes, what the account can write: every way that was found is tried here.

Each attack plants something in an account, as that account. Root then does what root does: sets the
cluster up again, asks for its status, uninstalls it. A proof that root's rights were used must never appear.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from .server import serving
from .support import ROOT, clean

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
PYTHON = Path("/usr/bin/python3")
_NAME = "cncp-attack"


@dataclass(frozen=True)
class Victim:
    """Root's side of it (code, a closed folder), and an account; ``proof`` can be written by everybody."""

    folder: Path
    account: pwd.struct_passwd
    variables: dict[str, str]

    @property
    def code(self) -> Path:
        """Root's own checkout."""
        return self.folder / "code"

    @property
    def closed(self) -> Path:
        """A folder of root's that holds a file."""
        return self.folder / "closed"

    @property
    def proof(self) -> Path:
        """Where programs that are planted say who runs them."""
        return self.folder / "proof"

    @property
    def home(self) -> Path:
        """The account's home."""
        return Path(self.account.pw_dir)

    @property
    def state(self) -> Path:
        """CNCP_HOME."""
        return self.home / ".local" / "share" / "cncp"

    def environment(self, **variables: str) -> dict[str, str]:
        """Return root's environment."""
        made = clean(self.closed, **{**self.variables, **variables})
        return {**made, "CNCP_USER": self.account.pw_name, "CNCP_CHEF_INSTALL": "no"}

    def root(self, *words: str, script: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """Have root run baremetal.sh for the account."""
        return subprocess.run(
            ["bash", str(script or self.code / "baremetal.sh"), *words],
            env=self.environment(**variables),
            cwd=self.closed,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=240,
        )

    def up(self) -> subprocess.CompletedProcess[str]:
        """Have root set the cluster up: one engine, which is light to start."""
        return self.root("--engines", "1", "--service-manager", "supervisor", "--converge", "embedded")

    def plant(self, path: Path, text: str, mode: int = 0o755) -> None:
        """Put a file of the account's somewhere in its home."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(mode)
        for entry in (path, *path.parents):
            if self.home in (entry, *entry.parents):
                os.lchown(entry, self.account.pw_uid, self.account.pw_gid)

    def link(self, path: Path, target: Path) -> None:
        """Put a link of the account's in the place of what is there."""
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
        os.lchown(path, self.account.pw_uid, self.account.pw_gid)

    def keep(self, name: str) -> None:
        """Keep the home as it is, to begin with."""
        subprocess.run(["cp", "-a", self.home, self.folder / name], check=True)

    def begin(self, name: str) -> None:
        """Bring back a home that was kept, a closed folder with its file, and a proof of nothing."""
        for path in (self.home, self.closed):
            shutil.rmtree(path, ignore_errors=True)
        subprocess.run(["cp", "-a", self.folder / name, self.home], check=True)
        self.closed.mkdir(mode=0o700)
        (self.closed / "file").write_text("root's\n")
        self.proof.write_text("")
        self.proof.chmod(0o666)

    @property
    def says_who(self) -> str:
        """A shell script that notes whose rights it has."""
        return f"#!/bin/sh\nid -ru >>{self.proof}\nid -u >>{self.proof}\n"

    @property
    def python_says_who(self) -> str:
        """The same as a module."""
        return f"import os\nopen({str(self.proof)!r}, 'a').write(f'{{os.getuid()}}\\n{{os.geteuid()}}\\n')\n"

    def untouched(self) -> bool:
        """Tell whether nothing planted has run as root, and nothing of root's was changed."""
        ran = self.proof.read_text().split()
        held = {path.name: path.read_text() for path in self.closed.iterdir()}
        return "0" not in ran and held == {"file": "root's\n"} and stat.S_IMODE(self.closed.stat().st_mode) == 0o700


@pytest.fixture(scope="module")
def account(wheelhouse: Path) -> Iterator[Victim]:
    """Make an account, and root's own checkout, for all of these tests."""
    if shutil.which("useradd") is None or not os.access(PYTHON, os.X_OK):
        pytest.skip("there is no useradd, or no Python that everybody may run")
    folder = Path(tempfile.mkdtemp(prefix="cncp-"))
    folder.chmod(0o755)
    # A number that no account of a lab has: what is left of this one is ended by it.
    numbers = ["-K", "UID_MIN=70000", "-K", "UID_MAX=79999", "-K", "GID_MIN=70000", "-K", "GID_MAX=79999"]
    home = ["--create-home", "--home-dir", str(folder / "home"), "--shell", "/bin/bash"]
    subprocess.run(["useradd", *numbers, *home, _NAME], check=True)
    try:
        with serving(wheelhouse) as index:
            path = "/usr/sbin:/usr/bin:/sbin:/bin"
            made = Victim(folder, pwd.getpwnam(_NAME), {"PIP_INDEX_URL": index.url, "PATH": path})
            made.keep("new")
            for name in ("bootstrap", "cookbooks", "roles", "notebooks"):
                shutil.copytree(ROOT / name, made.code / name, ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copy(ROOT / "baremetal.sh", made.code)
            subprocess.run(["chmod", "-R", "go-w", made.code], check=True)
            yield made
    finally:
        subprocess.run(["userdel", "--force", _NAME], check=False, capture_output=True)
        shutil.rmtree(folder)


@contextmanager
def _attacked(made: Victim, home: str) -> Iterator[Victim]:
    """Have the account begin with a home that was kept, and root with a closed folder; nothing of it goes on."""
    made.begin(home)
    try:
        yield made
        made.root("cncp", "uninstall")
    finally:
        _end(made.account.pw_uid)
        # A table that is left belongs to a number, and the next account of this name may have another.
        subprocess.run(["crontab", "-u", _NAME, "-r"], check=False, capture_output=True)


@pytest.fixture
def victim(account: Victim) -> Iterator[Victim]:
    """Return the account with a new home."""
    with _attacked(account, "new") as made:
        yield made


@pytest.fixture(scope="module")
def installed(account: Victim) -> str:
    """Have root install a virtualenv for the account, which takes longer than most attacks; return what home has it."""
    account.begin("new")
    done = account.root("--install-only")
    assert done.returncode == 0, done.stderr
    account.keep("installed")
    return "installed"


@pytest.fixture
def target(account: Victim, installed: str) -> Iterator[Victim]:
    """Return the account with a home that has the virtualenv."""
    with _attacked(account, installed) as made:
        yield made


def _end(uid: int) -> None:
    """End what is left of the account."""
    for path in Path("/proc").iterdir():
        if path.name.isdecimal() and path.exists() and path.stat().st_uid == uid:
            subprocess.run(["kill", "-9", path.name], check=False, capture_output=True)


def _python(victim: Victim) -> None:
    victim.plant(victim.state / "venv" / "bin" / "python", victim.says_who)


def _modules(victim: Victim) -> None:
    site = next((victim.state / "venv" / "lib").glob("python3*")) / "site-packages"
    for name in ("sitecustomize.py", "usercustomize.py", "psutil.py", "json.py"):
        victim.plant(site / name, victim.python_says_who)
    victim.plant(site / "evil.pth", "import " + victim.python_says_who.replace("\n", ";").removeprefix("import "))
    own = victim.home / ".local" / "lib" / site.parent.name / "site-packages"
    victim.plant(own / "usercustomize.py", victim.python_says_who)
    victim.plant(own / "sitecustomize.py", victim.python_says_who)


def _command(victim: Victim) -> None:
    victim.plant(victim.home / ".local" / "bin" / "cncp", victim.says_who)
    for name in ("python3", "id", "find", "stat", "runuser", "setsid", "git", "crontab", "systemctl", "sudo"):
        victim.plant(victim.home / ".local" / "bin" / name, victim.says_who)


def _login_files(victim: Victim) -> None:
    home = victim.home
    bad = f"PATH={home}/.local/bin:$PATH PYTHONPATH={home} PYTHONSTARTUP={home}/x.py BASH_ENV={home}/x"
    for name in (".bashrc", ".bash_profile", ".profile", ".zshenv"):
        victim.plant(home / name, f"export {bad}\n{victim.says_who}")
    victim.plant(home / ".pam_environment", f"LD_PRELOAD={home}/x.so\n")
    victim.plant(home / ".config" / "environment.d" / "x.conf", f"LD_PRELOAD={home}/x.so\n")
    victim.plant(home / "x", victim.says_who)
    victim.plant(home / "x.py", victim.python_says_who)
    victim.plant(home / ".gitconfig", f"[core]\n\tsshCommand = {home}/x\n\tfsmonitor = {home}/x\n")


def _memory(victim: Victim) -> None:
    """What the manifest says was made, and what stood there before."""
    text = (
        '{"made": {"%(c)s/file": ["root", "file"], "%(c)s/new": ["root", "file"], "%(c)s": ["root", "directory"],'
        ' "%(c)s/two": ["login", "file"]}, "kept": {"%(c)s/new": "x", "%(c)s/two": "x"},'
        ' "modes": {"%(c)s": 511, "%(c)s/new": 2541}, "copies": {"%(c)s/file": "x"}}'
    )
    victim.plant(victim.state / "manifest.json", text % {"c": victim.closed}, 0o600)
    victim.plant(victim.state / "before" / "x", "the account's\n")
    victim.plant(victim.state / "parents", f"{victim.closed}\n")


def _node(victim: Victim) -> None:
    path = victim.state / "node.json"
    text = path.read_text()
    for name in ("home", "profile_dir", "source"):
        text = text.replace(f'"{name}": "', f'"{name}": "{victim.closed}", "x{name}": "')
    victim.plant(path, text.replace('"name": "' + _NAME, '"name": "root').replace(str(victim.account.pw_uid), "0"))
    victim.plant(
        victim.state / "kept.json",
        '{"settings": {"requirements": "%s/file"}, "file": "%s/file"}' % ((victim.closed,) * 2),
    )


def _links(victim: Victim) -> None:
    profile = victim.home / ".ipython" / "profile_cncp"
    for path in (profile / "log", profile / "pid", victim.state / "run", victim.state / "libexec"):
        victim.link(path, victim.closed)
    for path in (
        profile / "cncp.json",
        victim.state / "install.lock",
        victim.state / "lock",
        victim.state / "kept.json",
    ):
        victim.link(path, victim.closed / "file")


def _chef(victim: Victim) -> None:
    for name in ("solo.rb", "report.json", "attributes.json", "chef.log"):
        victim.link(victim.state / "chef" / name, victim.closed / "file")
    victim.plant(victim.state / "chef" / "state" / "solo.d" / "x.rb", f"system({victim.home}/x)\n")


ATTACKS: dict[str, Callable[[Victim], None]] = {
    "the virtualenv's python": _python,
    "modules and .pth files": _modules,
    "~/.local/bin": _command,
    "login files": _login_files,
    "manifest.json": _memory,
    "node.json and kept.json": _node,
    "links": _links,
    "Chef's files": _chef,
}


@pytest.mark.parametrize("plant", ATTACKS.values(), ids=ATTACKS)
def test_nothing_planted_has_roots_rights(plant: Callable[[Victim], None], target: Victim) -> None:
    """Whatever the account has put into its home, root's commands for it do root no harm."""
    done = target.up()
    assert done.returncode == 0, done.stderr
    assert {path.lstat().st_uid for path in target.home.rglob("*")} == {target.account.pw_uid}
    plant(target)
    for words in (
        ("cncp", "status"),
        ("cncp", "up"),
        (),
        ("--converge", "chef"),
        ("cncp", "down"),
        ("cncp", "uninstall"),
    ):
        target.root(*words, "--quiet") if not words else target.root(*words)
        assert target.untouched(), (words, target.proof.read_text())


def test_code_that_the_account_can_write_is_refused(victim: Victim) -> None:
    """Root runs its own copy of the code alone; who called sudo may have one, and nobody else."""
    plants: tuple[Callable[[], None], ...] = (
        lambda: os.chown(victim.code / "bootstrap" / "stage0.py", victim.account.pw_uid, 0),
        lambda: (victim.code / "bootstrap" / "cncp").chmod(0o777),
        lambda: os.chown(victim.code, victim.account.pw_uid, victim.account.pw_gid),
    )
    for plant in plants:
        shutil.copytree(victim.code, victim.folder / "kept", symlinks=True)
        plant()
        for words in ((), ("cncp", "status")):
            done = victim.root(*words)
            assert done.returncode == 4, done.stderr
            assert f"error: {victim.code} can be written by others than root" in done.stderr
        shutil.rmtree(victim.code)
        (victim.folder / "kept").rename(victim.code)
    assert victim.root("cncp", "--version").returncode != 4


def test_a_lone_script_never_runs_the_accounts_copy(victim: Victim) -> None:
    """Root gets the code for itself, where only root can write; one that the account has is left alone."""
    repository = victim.folder / "repository"
    shutil.copytree(victim.code, repository)
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run(["git", "-C", str(repository), *author, *words], check=True)
    script = victim.folder / "baremetal.sh"
    shutil.copy(ROOT / "baremetal.sh", script)
    victim.plant(victim.state / "code" / "bootstrap" / "stage0.py", victim.python_says_who)
    victim.plant(victim.state / "code.lock", "")
    kept = Path("/usr/local/lib/cncp") / _NAME
    try:
        for _ in range(2):
            done = victim.root("--install-only", script=script, CNCP_REPO_URL=repository.as_uri())
            assert done.returncode == 0, done.stderr
            assert victim.untouched()
            assert {path.lstat().st_uid for path in kept.rglob("*")} == {0}
    finally:
        shutil.rmtree(kept, ignore_errors=True)


def test_a_python_for_root_alone_is_passed_over(victim: Victim) -> None:
    """The first on PATH may lie where the account has no way in: the next that both can run is taken."""
    (victim.closed / "python3").symlink_to(PYTHON)
    done = victim.root("--install-only", PATH=f"{victim.closed}:/usr/sbin:/usr/bin:/sbin:/bin")
    assert done.returncode == 0, done.stderr
    done = victim.root("--install-only", "--python", str(victim.closed / "python3"))
    assert (done.returncode, f"{_NAME} cannot run" in done.stderr) == (4, True), done.stderr


def test_the_accounts_programs_first_on_roots_path(victim: Victim) -> None:
    """A su without a login keeps the account's PATH: root's own Python is none that the account can change."""
    bin_ = victim.home / "bin"
    victim.plant(bin_ / "python3", victim.says_who + 'exec /usr/bin/python3 "$@"\n')
    done = victim.root("--install-only", PATH=f"/usr/sbin:/usr/bin:/sbin:/bin:{bin_}")
    assert done.returncode == 0, done.stderr
    victim.root("--install-only", "--python", str(bin_ / "python3"))
    assert victim.untouched()


def test_the_account_cannot_reach_roots_terminal_or_files(victim: Victim) -> None:
    """What runs as the account has no right of root's left: ids, groups, open files, terminal, working directory."""
    code = (
        "import os\n"
        "ids = {*os.getresuid(), *os.getresgid(), *os.getgroups()}\n"
        "opened = [one for one in map(int, os.listdir('/proc/self/fd')) if one > 2]\n"
        "print(sorted(ids), [one for one in opened if os.path.exists(f'/proc/self/fd/{one}')], os.getcwd())\n"
        "print(os.getsid(0) == os.getpid(), sorted(one for one in os.environ if one.startswith(('XDG_', 'SSH_'))))\n"
    )
    with (victim.closed / "file").open() as secret:
        os.set_inheritable(secret.fileno(), True)
        argv = [
            str(PYTHON),
            "-I",
            "-B",
            str(victim.code / "bootstrap" / "asroot.py"),
            "run",
            _NAME,
            str(PYTHON),
            "-c",
            code,
        ]
        done = subprocess.run(
            argv,
            env=victim.environment(XDG_CONFIG_HOME="/root/x", SSH_AUTH_SOCK="/root/y"),
            cwd=victim.closed,
            capture_output=True,
            text=True,
            check=False,
            close_fds=False,
        )
    uid, gid = victim.account.pw_uid, victim.account.pw_gid
    expected = sorted({uid, gid, *os.getgrouplist(_NAME, gid)})
    assert done.stdout.splitlines() == [f"{expected} [] /", "True []"], done.stderr
    assert not list(Path("/run").glob("cncp-root.*"))


def test_its_crontab_is_edited_as_the_account(victim: Victim) -> None:
    """crontab(1) goes by the real user id: root's own table is never read or written for an account."""
    tables = victim.folder / "tables"
    tables.mkdir()
    tables.chmod(0o777)
    programs = victim.folder / "bin"
    programs.mkdir()
    (programs / "crontab").write_text(
        f'#!/bin/sh\nid -ru >>{victim.proof}\ncase $1 in\n-l) cat "{tables}/$(id -ru)" ;;\n'
        f'-r) rm "{tables}/$(id -ru)" ;;\n-) cat >"{tables}/$(id -ru)" ;;\nesac\n'
    )
    (programs / "crontab").chmod(0o755)
    (tables / "0").write_text("@daily backup\n")
    own = tables / str(victim.account.pw_uid)
    own.write_text("* * * * * theirs\n")
    os.chown(own, victim.account.pw_uid, victim.account.pw_gid)
    path = f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"
    done = victim.root("--engines", "1", "--service-manager", "supervisor", "--converge", "embedded", PATH=path)
    assert done.returncode == 0, done.stderr
    assert len(own.read_text().splitlines()) == 2
    victim.root("cncp", "uninstall", PATH=path)
    assert own.read_text() == "* * * * * theirs\n"
    assert (tables / "0").read_text() == "@daily backup\n"
    assert set(victim.proof.read_text().split()) == {str(victim.account.pw_uid)}
