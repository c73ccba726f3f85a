"""pip's configuration is read as pip reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cncp.install import pipconf

FILES = {
    ".config/pip/pip.conf": "[global]\nindex-url = http://user.invalid/\ntimeout = 3\n[install]\nfind_links = /a /b\n",
    "named.conf": "[global]\nindex-url = http://named.invalid/\nextra-index-url =\n  http://x.invalid/\n  http://y.invalid/\n",
    "broken.conf": "index-url = nowhere\n",
}


def _by_pip(environment: dict[str, str]) -> dict[str, str]:
    """Return what pip itself makes of it: the last value of each option, the section [install] winning."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, str] = {}
    order = ("global", "install", ":env:")
    pairs = [line.partition("=")[::2] for line in done.stdout.splitlines()]
    for name, value in sorted(pairs, key=lambda pair: order.index(pair[0].partition(".")[0])):
        key = name.partition(".")[2].replace("_", "-")
        if key in pipconf._OPTIONS:
            found[key] = " ".join(value.strip("'\"").replace("\\n", " ").split())
    return found


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"PIP_CONFIG_FILE": "named.conf"},
        {"PIP_CONFIG_FILE": "missing.conf"},
        {"PIP_CONFIG_FILE": os.devnull, "PIP_CERT": "/c.pem"},
        {"PIP_INDEX_URL": "http://variable.invalid/", "PIP_NO_INDEX": "1", "PIP_PROXY": "http://proxy.invalid:1"},
    ],
)
def test_like_pip(variables: dict[str, str], home: Path) -> None:
    """Files, sections and variables count for as much as they do for pip."""
    for name, text in FILES.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    if variables.get("PIP_CONFIG_FILE", "").endswith(".conf"):
        variables = {**variables, "PIP_CONFIG_FILE": str(home / variables["PIP_CONFIG_FILE"])}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    environment.update(variables)
    ours = {key: " ".join(value.split()) for key, value in pipconf.read(environment).items()}
    assert ours == _by_pip(environment)


def test_a_broken_file_is_passed_over(home: Path) -> None:
    """What pip could not read does not stop us; pip will say so itself."""
    (home / "broken.conf").write_text(FILES["broken.conf"])
    assert "index-url" not in pipconf.read({"PIP_CONFIG_FILE": str(home / "broken.conf"), "HOME": str(home)})


def test_for_uv(tmp_path: Path) -> None:
    """Every option has its variable; what is set for uv itself stays; a folder of certificates is one."""
    options = {
        "index-url": "http://a/",
        "extra-index-url": "http://b/\nhttp://c/",
        "find-links": "/d\n/e",
        "no-index": "yes",
        "trusted-host": "f g:1",
        "cert": str(tmp_path),
        "proxy": "http://h:1",
    }
    made = pipconf.for_uv(options, {"UV_DEFAULT_INDEX": "http://mine/"})
    assert "UV_DEFAULT_INDEX" not in made
    assert made["UV_INDEX"] == "http://b/ http://c/"
    assert made["UV_FIND_LINKS"] == "/d,/e"
    assert made["UV_NO_INDEX"] == "1"
    assert made["UV_INSECURE_HOST"] == "f g:1"
    assert made["SSL_CERT_DIR"] == str(tmp_path)
    assert made["HTTPS_PROXY"] == made["ALL_PROXY"] == "http://h:1"
