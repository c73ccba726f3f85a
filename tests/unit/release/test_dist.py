"""A stamped copy of baremetal.sh."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cncp.errors import CncpError, UsageError
from cncp.release import installer


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/a/b.git",
        "ssh://git@example.org:22/b.git",
        "git@example.org:a/b.git",
        "example.org:b",
        "file:///srv/it's%20a%20$HOME.git",
        "/srv/code.git",
    ],
)
def test_urls_that_are_stamped(url: str, home: Path) -> None:
    """The script, its syntax whole and its rights set, knows the URL to the letter."""
    output = home / "copy.sh"
    installer.stamp(url, "v1.0", output)
    assert output.stat().st_mode & 0o777 == 0o755
    end = output.read_text().index("\nQUIET=")
    script = output.read_text()[:end] + '\nprintf "%s|%s" "$STAMPED_URL" "$STAMPED_REF"\n'
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == f"{url}|v1.0"
    subprocess.run(["bash", "-n", output], check=True)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "-o x",
        "--upload-pack=x",
        "http://example.org/x",
        "git://example.org/x",
        "ext::sh -c x",
        "https://",
        "https://a:b@example.org/x",
        "https://example.org/a b",
        "https://example.org/\n",
        "relative/path",
        "ftp://example.org/x",
    ],
)
def test_urls_that_are_not(url: str, home: Path) -> None:
    """What is no URL, what nobody vouches for, and passwords are refused; nothing is written."""
    with pytest.raises(UsageError):
        installer.stamp(url, "", home / "copy.sh")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("ref", ["-x", "a b", "a..b", "a:b", "/a", "a\n"])
def test_refs_that_are_not(ref: str, home: Path) -> None:
    """So are names that git would not take for a commit."""
    with pytest.raises(UsageError):
        installer.stamp("https://example.org/x", ref, home / "copy.sh")


def test_a_place_that_cannot_be_written(home: Path) -> None:
    """It is an error of two lines."""
    with pytest.raises(CncpError, match="cannot be written"):
        installer.stamp("https://example.org/x", "", home / "no" / "copy.sh")
    with pytest.raises(UsageError, match="is a folder"):
        installer.stamp("https://example.org/x", "", home)
