"""The notebooks, run from top to bottom by a real kernel on a real cluster: what they show is right."""

from __future__ import annotations

import re
from pathlib import Path

from tests.chef.site import ROOT

from .support import Lab

NOTEBOOKS = ROOT / "notebooks"


def test_first_steps(lab: Lab, tmp_path: Path) -> None:
    """Both engines answer as processes of their own, keep what they were given, and do tasks."""
    shown = lab.run_notebook(NOTEBOOKS / "first_steps.ipynb", tmp_path)
    assert shown[0].strip() == "[0, 1]"
    pids = re.findall(r"engine \d: \S+, process (\d+)", shown[1])
    services = lab.services()
    assert [int(pid) for pid in pids] == [services["engine-0"]["pid"], services["engine-1"]["pid"]]
    assert re.findall(r"\[stdout:(\d)\]\s+the root of 2 is 1\.414214", shown[2]) == ["0", "1"]
    assert "[1.4142135623730951, 1.4142135623730951]" in shown[3]
    assert "[0, 1, 4, 9, 16, 25, 36, 49]" in shown[4]
    assert re.search(r"\d s on 2 engines", shown[4])
    assert "on the engine: ZeroDivisionError - division by zero" in shown[5]


def test_map_progress(lab: Lab, tmp_path: Path) -> None:
    """Completed, failed and all are counted; the failure is named; the results are near theory; both engines worked."""
    shown = lab.run_notebook(NOTEBOOKS / "map_progress.ipynb", tmp_path)
    assert "39 completed, 1 failed, 40 in all" in shown[2]
    assert "0 steps: ValueError: 0 steps are no walk" in shown[3]
    near = re.search(r"39 results; after 100 steps the walk is ([\d.]+) away, in theory ([\d.]+)", shown[3])
    assert near is not None
    assert abs(float(near[1]) - float(near[2])) < 0.5
    counts = [int(count) for count in re.findall(r"engine \d: (\d+) tasks", shown[4])]
    assert len(counts) == 2
    assert sum(counts) == 39
    assert "an image" in shown[5]


def test_sklearn_search(lab: Lab, tmp_path: Path) -> None:
    """The fits were tasks of the engines, and the best parameters are those a search in one process finds."""
    shown = lab.run_notebook(NOTEBOOKS / "sklearn_search.ipynb", tmp_path)
    tasks = re.search(r"(\d+) tasks on the engines", "".join(shown))
    assert tasks is not None
    # Joblib puts several of the 36 fits into one task where they are short.
    assert int(tasks[1]) >= 2
    assert "best: {'C': 10, 'gamma': 0.001}" in "".join(shown)
    unseen = re.search(r"has not seen: ([\d.]+)", "".join(shown))
    assert unseen is not None
    assert float(unseen[1]) > 0.98
    assert "".join(shown).count("s a fit") == 12


def test_sweep(lab: Lab, tmp_path: Path) -> None:
    """Another client collects every result, and they are those of the logistic map."""
    shown = lab.run_notebook(NOTEBOOKS / "sweep.ipynb", tmp_path)
    assert "120 tasks submitted" in shown[1]
    assert "120 of 120 results collected by another client" in shown[3]
    lines = shown[4].splitlines()
    # Fixed point 1 - 1/r, period 2, period 4, the window of period 3, chaos.
    assert lines[0] == f"r = 2.9: 1 values, [{1 - 1 / 2.9:.6f}]"
    assert [line.split(",")[0] for line in lines[1:5]] == [
        "r = 3.2: 2 values",
        "r = 3.5: 4 values",
        "r = 3.83: 3 values",
        "r = 3.9: 64 values",
    ]
    assert "an image" in shown[5]
    assert not (tmp_path / "sweep.json").exists()
