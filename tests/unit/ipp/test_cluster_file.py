"""The file by which ipyparallel's programs find a cluster: ours, another's, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from cncp.ipp import cluster_file
from cncp.ipp.cluster_file import Described, Listed


@pytest.mark.parametrize(
    ("content", "home", "listed"),
    [
        ('{"home": "/h", "cluster": {"class": "x", "profile_dir": "/p"}}', "/h", Listed("/h", Described("/p"))),
        ('{"home": "/h"}', "/h", None),
        ('{"cluster": {"profile_dir": "/p"}}', "", None),
        ('{"home": 5}', "", None),
        ("[", "", None),
    ],
)
def test_whose_cluster_it_is(tmp_path: Path, content: str, home: str, listed: Listed | None) -> None:
    """Only one that names a home is ours; what is damaged is nobody's."""
    (tmp_path / "security").mkdir()
    (tmp_path / "security" / cluster_file.NAME).write_text(content)
    assert (cluster_file.home(tmp_path), cluster_file.read(tmp_path)) == (home, listed)
