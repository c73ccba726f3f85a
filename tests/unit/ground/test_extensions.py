"""What packages of others add: found by name, imported when wanted, and refused where it is not what it should be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cncp.errors import CncpError, UsageError
from cncp.extensions import Kinds

from ..elsewhere import install


class Shape:
    """What kinds of the test are of."""


class Round(Shape):
    """One of our own."""


SHAPES = Kinds("shape", "cncp.shapes", Shape, {"round": f"{__name__}:Round"})

SOURCE = f"""\
import abc
from {__name__} import Shape

class Square(Shape):
    pass

class Half(Shape, abc.ABC):
    @abc.abstractmethod
    def area(self): ...

class Colour:
    pass

word = "square"
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder of packages that Python looks into, with one of somebody else's."""
    points = {
        "square": "theirs_shapes:Square",
        "half": "theirs_shapes:Half",
        "colour": "theirs_shapes:Colour",
        "word": "theirs_shapes:word",
        "absent": "theirs_shapes:Absent",
        "lost": "theirs_lost:Square",
        "broken": "theirs_broken:Square",
        "round": "theirs_shapes:Square",
    }
    modules = {"theirs_shapes": SOURCE, "theirs_broken": "1 / 0"}
    install(tmp_path / "packages", "theirs", modules, {"cncp.shapes": points})
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setitem(sys.modules, "theirs_shapes", None)
    monkeypatch.delitem(sys.modules, "theirs_shapes")
    return tmp_path / "packages"


def test_one_of_ours_is_found_without_a_look_at_packages() -> None:
    """Which takes longer than most commands do."""
    assert SHAPES.find("round", "here").__name__ == "Round"
    assert SHAPES.names() == ["round"]


def test_one_of_another_package_is_found(packages: Path) -> None:
    """By its name; none takes the place of ours."""
    assert SHAPES.find("square", "here").__name__ == "Square"
    assert SHAPES.find("round", "here") is Round
    assert SHAPES.names() == ["round", "absent", "broken", "colour", "half", "lost", "square", "word"]


def test_a_name_that_nobody_has(packages: Path) -> None:
    """It is the user's mistake: what is there is named, or what was likely meant."""
    with pytest.raises(UsageError) as caught:
        SHAPES.find("sqare", "cluster.toml")
    assert caught.value.message == "cluster.toml: there is no shape 'sqare'"
    assert caught.value.hint == "did you mean square?"
    with pytest.raises(UsageError) as caught:
        SHAPES.find("oval-ish", "cluster.toml")
    assert "there are: round, absent" in caught.value.hint


UNFIT = {
    "lost": "cannot be imported: ModuleNotFoundError",
    "absent": "cannot be imported: AttributeError",
    "broken": "cannot be imported: ZeroDivisionError",
    "colour": "is none: theirs_shapes:Colour is no Shape",
    "word": "is none: theirs_shapes:word is no Shape",
    "half": "is not whole: it lacks area",
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_does_not_fit_is_told_with_whose_it_is(packages: Path, name: str) -> None:
    """One line of what is wrong, with the package, and one of what to do."""
    with pytest.raises(CncpError) as caught:
        SHAPES.find(name, "here")
    assert caught.value.message.startswith(f"the shape {name} of theirs {UNFIT[name]}")
    assert "theirs" in caught.value.hint
    assert not isinstance(caught.value, UsageError)


def test_two_packages_with_the_same_name(packages: Path) -> None:
    """Which of them is meant cannot be known."""
    install(packages, "other", {}, {"cncp.shapes": {"square": "other:Square"}})
    with pytest.raises(CncpError, match=r"the shape square of \w+ is one of \w+ as well"):
        SHAPES.find("square", "here")
