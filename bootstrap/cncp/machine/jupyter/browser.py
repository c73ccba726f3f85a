"""Opening a page that needs a token, without the token on a command line."""

from __future__ import annotations

import html
import os
import webbrowser
from collections.abc import Mapping
from pathlib import Path

from cncp.files import write_atomic
from cncp.machine.jupyter.service import Access


def can_open(environment: Mapping[str, str]) -> bool:
    """Tell whether there is a display that a browser could show itself on."""
    return bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def page(access: Access) -> str:
    """Return a page that sends its reader on to Jupyter, with the token."""
    url = html.escape(f"{access.url}?token={access.token}", quote=True)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Jupyter</title>\n'
        f'<meta http-equiv="refresh" content="0; url={url}"></head>\n'
        f'<body><a href="{url}">Jupyter</a></body></html>\n'
    )


def show(access: Access, path: Path) -> bool:
    """Write that page to ``path``, for the user alone, and open it; return whether a browser took it."""
    write_atomic(path, page(access).encode(), 0o600)
    return webbrowser.open(path.as_uri())


def display() -> bool:
    """Tell whether this process has a display."""
    return can_open(os.environ)
