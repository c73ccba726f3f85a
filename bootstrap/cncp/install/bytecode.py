"""The bytecode of what a cluster imports, made while its files are being written.

uv leaves bytecode out. Without it the first start of every service compiles some 260 modules, all
services at once and each for itself; compiling every module there is takes 3 s. One process that
imports what an engine and a controller import makes just what they need, on another core than
the one that is writing files in the meantime.
"""

from __future__ import annotations

from pathlib import Path

from cncp.process import Process, begin
from cncp.surroundings import PYTHON

_IMPORTS = "import cncp.serve.engine, cncp.serve.controller"


def make(python: Path) -> Process:
    """Begin to make the bytecode that the services of this virtualenv need, and do not wait.

    Nothing depends on it: what is missing is made by whoever imports it first.
    """
    return begin([python, *PYTHON, "-c", _IMPORTS], cwd="/")
