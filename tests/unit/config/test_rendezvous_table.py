"""The table [rendezvous]: where machines find the cluster, or refused with what to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cncp.config import sources
from cncp.config.rendezvous_table import RendezvousTable, parse
from cncp.errors import UsageError

FOLDER = Path("/etc/lab")


@pytest.mark.parametrize(
    ("store", "read"),
    [
        ("s3://lab-bucket/cncp", "s3://lab-bucket/cncp"),
        ("s3://lab-bucket/cncp/", "s3://lab-bucket/cncp"),
        ("s3://lab-bucket", "s3://lab-bucket"),
        ("gs://lab_bucket/a/b", "gs://lab_bucket/a/b"),
        ("az://container/cncp", "az://container/cncp"),
        ("swift://Lab_results.1/cncp/", "swift://Lab_results.1/cncp"),
        ("file:///home/shared/cncp", "file:///home/shared/cncp"),
    ],
)
def test_stores(store: str, read: str) -> None:
    """Buckets with a prefix or without, and folders."""
    assert parse({"store": store}, "x", FOLDER) == RendezvousTable(store=read)


def test_options() -> None:
    """Paths are taken from the file's folder; what opens the store is all but its URL."""
    table = {"store": "s3://lab/x", "endpoint": "https://s3.example.org", "region": "eu-1", "credentials": "keys.env"}
    assert parse(table, "x", FOLDER).options() == {
        "endpoint": "https://s3.example.org",
        "region": "eu-1",
        "credentials": "/etc/lab/keys.env",
    }


def test_the_cloud_of_a_swift() -> None:
    """As pools name theirs."""
    table = {"store": "swift://lab", "cloud": "griffin", "region": "RegionOne"}
    assert parse(table, "x", FOLDER).options() == {"region": "RegionOne", "cloud": "griffin"}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ([], "is no table"),
        ("s3://lab", "is no table"),
        ({"stor": "s3://lab"}, "did you mean store?"),
        ({"secret": "x"}, "there are: store, endpoint, region, credentials, cloud, poll, orphan"),
        ({"store": "swift://lab/Cncp"}, "store must be s3://"),
        ({"store": "swift://"}, "store must be s3://"),
        ({"store": "swift://lab", "endpoint": "https://x"}, "endpoint is nothing that swift:// has"),
        ({"store": "swift://lab", "cloud": ""}, "cloud must be a name in clouds.yaml"),
        ({"store": "s3://lab-bucket", "cloud": "griffin"}, "cloud is nothing that s3:// has"),
        ({"cloud": "griffin"}, "and store names none"),
        ({"store": 7}, "store must be a text"),
        ({"store": ""}, "store must be s3://"),
        ({"store": "/home/shared"}, "store must be s3://"),
        ({"store": "file://host/shared"}, "store must be s3://"),
        ({"store": "file:///"}, "store must be s3://"),
        ({"store": "ftp://x/y"}, "store must be s3://"),
        ({"store": "s3://"}, "store must be s3://"),
        ({"store": "s3://ab"}, "store must be s3://"),
        ({"store": "s3://Lab/x"}, "store must be s3://"),
        ({"store": "s3://lab/../x"}, "store must be s3://"),
        ({"store": "s3://key:secret@lab/x"}, "store must be s3://"),
        ({"store": "s3://lab/a?b=c"}, "store must be s3://"),
        ({"endpoint": "s3.example.org"}, "endpoint must be a URL"),
        ({"endpoint": "https://me:secret@s3.example.org"}, "without a password"),
        ({"region": "eu 1"}, "region must be a name"),
        ({"store": "s3://lab-bucket", "credentials": ""}, "credentials must be the path"),
        ({"region": "eu-1"}, "and store names none"),
        ({"poll": 0}, "poll must be a whole number of seconds from 1 to 3600"),
        ({"poll": "60"}, "poll must be a whole number"),
        ({"orphan": 9}, "orphan must be a whole number of seconds from 10 to 604800"),
        ({"orphan": True}, "orphan must be a whole number"),
        ({"store": "file:///shared", "endpoint": "https://x"}, "and store names none"),
    ],
)
def test_what_is_refused(table: Any, said: str) -> None:
    """Two lines: what is wrong, and what to write."""
    with pytest.raises(UsageError) as refused:
        parse(table, "cluster.toml", FOLDER)
    assert said in f"{refused.value.message} {refused.value.hint}"


def test_times() -> None:
    """Those that are set count, with a store and without."""
    assert parse({"poll": 5, "orphan": 60}, "x", FOLDER).times() == {"poll": 5, "orphan": 60}
    assert parse({}, "x", FOLDER).times() == {}


def test_it_stands_in_cluster_toml(tmp_path: Path) -> None:
    """Beside the settings, and is checked whenever the file is read."""
    file = tmp_path / "cluster.toml"
    file.write_text('engines = 2\n[rendezvous]\nstore = "s3://lab-bucket/cncp"\n')
    assert sources.rendezvous(file).store == "s3://lab-bucket/cncp"
    assert sources.read(file)[0] == {"engines": 2}
    assert sources.rendezvous(None) == RendezvousTable()
    file.write_text('[rendezvous]\nstore = "nowhere"\n')
    with pytest.raises(UsageError):
        sources.read(file)
