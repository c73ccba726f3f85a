"""What instances boot with: its size, that shells read it, and what is in it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cncp.errors import UsageError
from cncp.pools.cloud.user_data import progress, tail, user_data
from cncp.rendezvous.documents import Seed

SIGNED = (
    "https://lab-bucket.s3.eu-central-1.amazonaws.com/cncp/v1/0f3a9c1e55aa7b20/joins/0123456789abcdef.json"
    "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20261125%2Feu-central-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20261125T100000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=" + "0" * 64
)
SEED = Seed(
    "0f3a9c1e55aa7b20", "0123456789abcdef", SIGNED, base64.b64encode(bytes(range(32))).decode(), 1_800_000_000,
    bundle=SIGNED, sha256="0" * 64, instance=True,
)  # fmt: skip
PEM = "-----BEGIN CERTIFICATE-----\n" + "A" * 64 + "\n-----END CERTIFICATE-----\n"


def test_it_is_small() -> None:
    """Under 4 KB with URLs as long as S3 signs them; EC2 takes 16 KB (dask-cloudprovider#249 went beyond)."""
    size = len(user_data(SEED).encode())
    assert 3000 < size < 4096, size


@pytest.mark.parametrize(
    "more", [{}, {"certificate": PEM}, {"certificate": PEM, "index": "https://a:b@pypi.example/simple"}]
)
@pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
def test_shells_read_it(more: dict[str, str], shell: str) -> None:
    """Whatever is sh on an image."""
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell}")
    text = user_data(SEED, **more)
    assert text.startswith("#!/bin/sh\n")
    assert "@" not in text.replace("@pypi", "").replace("engine@", "")
    subprocess.run([shell, "-n"], input=text.encode(), check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "-"], input=text.encode(), check=True)


def test_the_seed_arrives_as_it_is() -> None:
    """Quotes, dollars and backslashes in it are text."""
    odd = Seed(**{**vars(SEED), "join": "https://h.example/$(reboot)`x`'\"\\n?a=1"})
    text = user_data(odd)
    begin = text.index("cat >seed.json")
    script = text[begin : text.index("\nSEED\n") + 6].replace("seed.json", "/dev/stdout")
    said = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
    # As text: a seed with such a URL is refused where it is read.
    assert said.decode().strip() == odd.to_json()


def test_too_many_certificates() -> None:
    """What no cloud would take is refused here, with what to do."""
    with pytest.raises(UsageError, match=r"has \d+ bytes, and clouds take 16384"):
        user_data(SEED, certificate=PEM * 200)


def test_the_program_in_it(tmp_path: Path) -> None:
    """It takes what has the right sum, waits for the rest, and gives up when the time is over."""
    program = user_data(SEED).partition("<<'PY'")[2].partition("\n")[2].partition("\nPY\n")[0]
    good = tmp_path / "bundle.tar"
    good.write_bytes(b"bundle")
    seed = {"bundle": good.as_uri() + "#sha256=00", "sha256": hashlib.sha256(b"bundle").hexdigest(), "deadline": 0}

    def run(**wrong: object) -> subprocess.CompletedProcess[str]:
        (tmp_path / "seed.json").write_text(json.dumps({**seed, **wrong}))
        words = ["python3", "-I", "-c", program]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, env=dict(os.environ))

    assert run().returncode == 0
    assert (tmp_path / "cncp.tar").read_bytes() == b"bundle"
    (tmp_path / "cncp.tar").unlink()
    for wrong in ({"sha256": "0" * 64}, {"bundle": (tmp_path / "none").as_uri()}):
        ended = run(**wrong)
        assert ended.returncode == 1
        assert not (tmp_path / "cncp.tar").exists()
        assert "waiting:" in ended.stdout


@pytest.mark.parametrize(
    ("console", "found"),
    [
        ("", ("", "")),
        ("login: \ncncp: nothing\n", ("", "")),
        ("cncp: fetching\n", ("fetching", "")),
        ("[ OK ] x\r\ncncp: fetching\r\n[ OK ] y\r\ncncp: installing\r\n", ("installing", "")),
        ("cncp: fetching\n| why\ncncp: failed: it could not join; this instance ends in 5 minutes\n",
         ("failed", "it could not join; this instance ends in 5 minutes")),
        ("xcncp: joined\ncncp: joined\n\x1b[0m", ("joined", "")),
    ],
)  # fmt: skip
def test_progress(console: str, found: tuple[str, str]) -> None:
    """How far an instance is stands on its console, between what others write there."""
    assert progress(console) == found


def test_tail() -> None:
    """The last lines that say something."""
    assert tail("a\n\n b \n\nc\nd\n", 3) == "b · c · d"
    assert tail("") == ""
