"""The first hour: what the README says, word for word, in a home where nothing of ours is on the PATH."""

from __future__ import annotations

import re
import shutil
import subprocess

from ..unit.test_readme import README, first_script
from .support import ROOT, Site


def run(site: Site, *words: str, shell: str = "bash", status: int = 0) -> str:
    """Type a line into a shell in the home; return what it says."""
    environment = {**site.environment, "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(
        [shell, "-c", *words], cwd=site.home, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == status, done.stderr
    return done.stdout


def test_the_readme_word_for_word(near: Site) -> None:
    """Install, do what is printed next in every shell, run the first script, scale, go on after down, remove."""
    site = near
    site.variables["SSH_CONNECTION"] = "192.0.2.9 51000 192.0.2.1 22"
    try:
        said = run(site, f"bash {ROOT}/baremetal.sh --engines 2 --converge embedded --service-manager supervisor")
        following = re.search(r"^next: (.*) \| (.*)$", said, re.MULTILINE)
        assert following
        assert "@192.0.2.1" in said or "." in said.partition("--host ")[2]
        for shell in ("sh", "bash", "zsh", "fish", "tcsh"):
            if shutil.which(shell):
                assert "engine-1" in run(site, following[1], shell=shell)
        (site.home / "first.py").write_text(first_script(README))
        expected = "[0, 1]\n[0, 1, 4, 9, 16, 25, 36, 49]\n"
        command = following[1].removesuffix(" status")
        assert run(site, f"{command} run first.py") == expected
        assert run(site, f"{command} shell -c 'python first.py'") == expected
        assert run(site, f"echo 'python first.py; cncp status' | {command} shell").startswith(expected)
        assert run(site, f"{command} --complete -- cncp restart engine-") == "engine-0\nengine-1\n"
        # What comes next is printed once.
        assert "next:" not in run(site, f"{command} scale -1")
        example = ROOT / "examples" / "one-machine" / "cluster.toml"
        assert "next:" not in run(site, f"{command} up --file {example}")
        assert run(site, f"{command} run first.py") == expected
        assert run(site, f"CNCP_QUIET=true {command} restart 1").count("\n") == 1
        assert run(site, f"CNCP_JSON=true {command} status").startswith("[")
        run(site, f"{command} --dry down", status=2)
        run(site, f"{command} status down", status=2)
        assert re.search(r"^2 engines: 2 idle · \d+ MB$", run(site, f"{command} ps"), re.MULTILINE)
        run(site, f"{command} down")
        assert "stopped by cncp down; cncp up brings it back" in run(site, f"{command} status 2>&1")
    finally:
        run(site, f"if [ -x {site.home}/.local/bin/cncp ]; then {site.home}/.local/bin/cncp uninstall; fi")


def test_a_machine_where_nothing_runs(site: Site) -> None:
    """A laptop installs the command alone, and has it."""
    assert "venv/bin/cncp" in site.install()
    said = run(site, f'PATH={site.state}/venv/bin:"$PATH"; cncp keys.show')
    assert said == "no keys here\n"
