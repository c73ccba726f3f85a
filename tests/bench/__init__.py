"""Benchmarks: `python -m tests.bench`. What cncp takes, beside what one would use without it."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout that is measured."""

sys.path.insert(0, str(ROOT / "bootstrap"))

if importlib.util.find_spec("ipyparallel") is None:
    sys.exit(
        "error: this Python has no ipyparallel\nhint: use the test environment's: .test-env/bin/python -m tests.bench"
    )
