"""What images are called: NAME-VERSION-SUBVERSION, such as compute-1-0."""

from __future__ import annotations

import re
from typing import Annotated

from cncp.errors import UsageError
from cncp.field_types import Matching

_FORM = r"[A-Za-z][A-Za-z0-9_.]{0,23}-[0-9]{1,5}-[0-9]{1,5}"

ImageName = Annotated[str, Matching(_FORM, "the name of an image, NAME-VERSION-SUBVERSION")]
"""The type of a record's field. With its longest part it is 36 characters: what the name of a GPT partition holds."""


def checked(name: str) -> str:
    """Return the name of an image. Raises UsageError where it is none."""
    if not re.fullmatch(_FORM, name):
        raise UsageError(
            f"{name[:60]!r} is no name of an image", "call it NAME-VERSION-SUBVERSION, such as compute-1-0"
        )
    return name
