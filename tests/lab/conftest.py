"""The lab's fixtures, for the tests in this folder."""

from .fixtures import host, lab, make_host, pytest_collection_modifyitems
from .fleets import make_fleet
from .sites import bare, index, make_site, wheelhouse

__all__ = [
    "bare",
    "host",
    "index",
    "lab",
    "make_fleet",
    "make_host",
    "make_site",
    "pytest_collection_modifyitems",
    "wheelhouse",
]
