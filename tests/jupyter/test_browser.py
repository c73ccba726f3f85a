"""JupyterLab as a person sees it: a browser opens what `jupyter.open` prints, and works on all engines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from .support import Lab

CELL = """import ipyparallel
client = ipyparallel.Client(profile="cncp", timeout=30)
print("engines", client.ids, "sum", sum(client[:].apply_sync(lambda: sum(range(1000)))))"""

PATIENCE = 60_000  # ms; the lab's first page is 10 MB of JavaScript


@pytest.fixture
def page() -> Iterator[Page]:
    """Return a page of Debian's Chromium, without a display."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium on this machine (package chromium)")
    with sync_playwright() as driver:
        # Its sandbox needs an account other than root.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=program, args=options)
        yield browser.new_page(viewport={"width": 1280, "height": 800})
        browser.close()


def test_a_cell_that_uses_all_engines(lab: Lab, page: Page, tmp_path: Path) -> None:
    """Address, token, a new notebook, a cell: both engines compute; the panel shows the cluster; nothing asks for more.

    The screenshot is kept where SCREENSHOTS names a folder.
    """
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    address = lab.site.cncp("jupyter.open", "--no-browser").stdout.strip()
    page.goto(address, timeout=PATIENCE)
    page.locator("#password_input").fill(lab.site.cncp("jupyter.token").stdout.strip())
    assert page.locator("input[type=password]").count() == 1
    page.locator("#login_submit").click()
    # The folder with the examples is open; the token does not stay in the address.
    expect(page.get_by_text("first_steps.ipynb")).to_be_visible(timeout=PATIENCE)
    assert lab.access["token"] not in page.url

    page.locator(".jp-LauncherCard[title*='Python 3 (cncp)']").first.click()
    editor = page.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    # What is typed before the kernel is there can be lost with the page's first drawing of the cell.
    expect(page.get_by_text("Python 3 (cncp) | Idle")).to_be_visible(timeout=PATIENCE)
    editor.fill(CELL, timeout=PATIENCE)
    expect(editor).to_contain_text("apply_sync")
    editor.press("Shift+Enter")
    shown = page.locator(".jp-Notebook .jp-OutputArea-output").first
    expect(shown).to_contain_text("engines [0, 1] sum 999000", timeout=PATIENCE)

    page.locator("[data-id=ipp-cluster-launcher]").click()
    cluster = page.locator(".ipp-ClusterListingItem").filter(has_text="cncp")
    expect(cluster).to_contain_text("State: running", timeout=PATIENCE)
    expect(cluster).to_contain_text("Number of engines: 2")
    # No question about news or updates is in the way, and nothing was asked of anybody else.
    assert page.locator(".Toastify__toast").count() == 0
    assert [request for request in asked if not request.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []
    page.screenshot(path=Path(os.environ.get("SCREENSHOTS", tmp_path)) / "jupyter.png")
