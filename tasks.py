"""`invoke X`: cncp's tasks from a checkout, and the project's own chores."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "bootstrap"))

from cncp.tasks import ns

__all__ = ["ns"]
