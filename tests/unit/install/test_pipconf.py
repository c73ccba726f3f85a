"""pip's configuration is read as pip reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cncp.install import pip_config, uv_config

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
        if key in pip_config._OPTIONS:
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
    ours = {key: " ".join(value.split()) for key, value in pip_config.read(environment).items()}
    assert ours == _by_pip(environment)


def test_a_broken_file_is_passed_over(home: Path) -> None:
    """What pip could not read does not stop us; pip will say so itself."""
    (home / "broken.conf").write_text(FILES["broken.conf"])
    assert "index-url" not in pip_config.read({"PIP_CONFIG_FILE": str(home / "broken.conf"), "HOME": str(home)})


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
    made = pip_config.for_uv(options, {"UV_DEFAULT_INDEX": "http://mine/"}, {})
    assert "UV_DEFAULT_INDEX" not in made
    assert made["UV_INDEX"] == "http://b/ http://c/"
    assert made["UV_FIND_LINKS"] == "/d,/e"
    assert made["UV_NO_INDEX"] == "1"
    assert made["UV_INSECURE_HOST"] == "f g:1"
    own = [{"name": "ours", "url": "http://mine/", "default": True}]
    assert "UV_DEFAULT_INDEX" not in pip_config.for_uv(options, {}, {"index": own})
    assert pip_config.for_uv(options, {}, {"index": [{"name": "more", "url": "http://more/"}]})["UV_DEFAULT_INDEX"]
    assert made["SSL_CERT_DIR"] == str(tmp_path)
    assert made["HTTPS_PROXY"] == made["ALL_PROXY"] == "http://h:1"


def test_for_pip(home: Path) -> None:
    """What says where packages come from reaches pip as it was said; how they are installed does not."""
    configured = home / ".config" / "pip" / "pip.conf"
    configured.parent.mkdir(parents=True)
    configured.write_text(
        "[global]\nindex-url = http://a/\nretries = 2\n[install]\ntarget = /x\nuser = yes\nno-binary = :all:\n"
    )
    options = pip_config.read({"HOME": str(home), "XDG_CONFIG_DIRS": str(home), "PIP_CERT": "/c", "PIP_TARGET": "/y"})
    made = pip_config.for_pip(options)
    assert {"PIP_INDEX_URL": "http://a/", "PIP_RETRIES": "2", "PIP_CERT": "/c"}.items() <= made.items()
    assert made["PIP_CONFIG_FILE"] == os.devnull
    assert not {"PIP_TARGET", "PIP_USER", "PIP_NO_BINARY"} & set(made)


def test_of_uv_only_where_from(home: Path) -> None:
    """Of uv's files the indexes count, the user's before the system's, and are written as uv reads them."""
    system, user = home / "etc" / "uv" / "uv.toml", home / ".config" / "uv" / "uv.toml"
    for path in (system, user):
        path.parent.mkdir(parents=True)
    system.write_text('index-url = "http://system/"\nnative-tls = true\noffline = true\n')
    user.write_text(
        'exclude-newer = "2020-01-01"\nlink-mode = "symlink"\nindex-url = "http://user/"\n'
        'constraint-dependencies = ["x<1"]\n[[index]]\nname = "ü"\nurl = "./simple"\n'
        '[pip]\nno-binary = [":all:"]\nextra-index-url = ["http://more/"]\n'
    )
    environment = {"HOME": str(home), "XDG_CONFIG_DIRS": str(home / "etc")}
    found = uv_config.read(environment, sys.executable)
    assert found == {
        "index-url": "http://user/",
        "native-tls": True,
        "index": [{"name": "ü", "url": str(user.parent / "simple")}],
        "extra-index-url": ["http://more/"],
    }
    again = home / "again.toml"
    again.write_text(uv_config.written(found))
    assert uv_config.read({"UV_CONFIG_FILE": str(again)}, sys.executable) == found
    assert uv_config.read({**environment, "UV_NO_CONFIG": "1"}, sys.executable) == {}
    user.write_text("offline = [[[\n")
    assert uv_config.read(environment, sys.executable) == {"index-url": "http://system/", "native-tls": True}
