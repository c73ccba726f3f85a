"""What a wheel has beside the package: the code as it is in a checkout, to be kept with clusters and sent to hosts.

It is in ``cncp/_code`` (``SOURCE`` in cncp/config/sources.py), cncp itself among it: what runs elsewhere is that copy,
and what is installed may be removed. An editable installation has none, and runs from the checkout.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Code(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the files; hatchling finds this class by its base."""

    _folder: tempfile.TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Have a copy of them go into the wheel. ``version`` is "editable" or "standard".

        A copy, because hatchling puts no file of the project into two places.
        """
        if version == "editable":
            return
        sys.path.insert(0, str(Path(self.root) / "bootstrap"))
        from cncp.install import source_code

        self._folder = tempfile.TemporaryDirectory()
        for name, (content, mode) in source_code.code(Path(self.root)):
            path = Path(self._folder.name) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(mode)
        build_data["force_include"][self._folder.name] = "cncp/_code"

    def finalize(self, *_: object) -> None:
        """Remove that copy."""
        if self._folder is not None:
            self._folder.cleanup()
