"""What the tests do with a running Jupyter."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chef.site import Site

RUN_NOTEBOOK = """
import json, sys
import nbformat
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], 4)
nbformat.validate(book)
NotebookClient(book, timeout=120, resources={"metadata": {"path": sys.argv[2]}}).execute()
cells = [cell for cell in book.cells if cell.cell_type == "code"]
print(json.dumps([[dict(output) for output in cell.outputs] for cell in cells]))
"""


@dataclass(frozen=True)
class Lab:
    """The JupyterLab of a site."""

    site: Site

    @property
    def folder(self) -> Path:
        """The folder of all that it keeps."""
        return self.site.cncp_home / "jupyter"

    @property
    def access(self) -> dict[str, Any]:
        """Port, token and url, as `jupyter.token --json` tells them."""
        return dict(json.loads(self.site.cncp("jupyter.token", "--json").stdout))

    def ask(self, path: str, method: str = "GET", *, token: bool = True) -> tuple[int, Any]:
        """Return status and JSON of an answer."""
        known = self.access
        headers = {"Authorization": f"token {known['token']}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{known['port']}{path}", method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                content = answer.read()
                return answer.status, json.loads(content) if content.startswith((b"{", b"[")) else content
        except urllib.error.HTTPError as error:
            with error:
                content = error.read()
            return error.code, json.loads(content) if content.startswith(b"{") else content

    def services(self) -> dict[str, dict[str, Any]]:
        """Return `cncp status --json` by service."""
        return {service["name"]: service for service in json.loads(self.site.cncp("status", "--json").stdout)}

    def run_notebook(self, path: Path, folder: Path) -> list[str]:
        """Run a notebook with the kernel that Jupyter offers; return what its code cells show, as text."""
        folder.mkdir(exist_ok=True)
        environment = [f"JUPYTER_PATH={self.folder / 'share'}", f"JUPYTER_RUNTIME_DIR={folder}"]
        python = self.site.cncp_home / "venv" / "bin" / "python"
        done = self.site.run("env", *environment, python, "-s", "-c", RUN_NOTEBOOK, path, folder)
        return ["\n".join(map(_text, outputs)) for outputs in json.loads(done.stdout)]


def _text(output: dict[str, Any]) -> str:
    bundle = output.get("data", {})
    image = ["an image"] if len(bundle.get("image/png", "")) > 1000 else []
    return "\n".join([*image, output.get("text") or bundle.get("text/plain", "")])
