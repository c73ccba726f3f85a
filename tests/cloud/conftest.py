"""Clouds that several tests ask."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import moto_ec2, stub_openstack
from .stub_openstack import Stub


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """An EC2 for all tests."""
    with moto_ec2.serving() as address:
        yield address


@pytest.fixture
def ec2(moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An EC2 with nothing in it, which boto3 finds by its own variables."""
    urllib.request.urlopen(urllib.request.Request(f"{moto}/moto-api/reset", method="POST"), timeout=30)
    for name, value in {**moto_ec2.KEYS, "AWS_ENDPOINT_URL": moto, "AWS_DEFAULT_REGION": "eu-west-1"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return moto


@pytest.fixture
def openstack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """An OpenStack with no servers, which openstacksdk finds by the name lab in a clouds.yaml."""
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    with stub_openstack.serving() as stub:
        login = {
            "auth_url": f"{stub.address}/v3", "username": "ada", "password": "x", "project_name": "lab",
            "user_domain_name": "Default", "project_domain_name": "Default",
        }  # fmt: skip
        file = tmp_path / "clouds.yaml"
        # JSON is YAML.
        file.write_text(json.dumps({"clouds": {"lab": {"auth": login, "region_name": "One"}}}))
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(file))
        yield stub
