"""Pages made of the tables in the code when the documents are built, so that they cannot say anything else.

``.. cncp:: settings`` stands for all settings, ``on-hosts`` for those that hosts can have of their own,
``verbs`` for all verbs in their groups, ``variables`` for all variables but those of virtual machines,
which are ``vm-variables``, and ``instances``, ``machines`` and ``netboot`` for the keys of a pool of these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from docutils.nodes import Node, document, reference
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.rst import escape

from cncp.config import inventory
from cncp.config.settings import SETTINGS
from cncp.config.sources import STATIC
from cncp.config.variables import OTHER_VARIABLES, VM_VARIABLES
from cncp.pools.base import Want
from cncp.pools.cloud import cloud_table
from cncp.pools.netboot import netboot_table
from cncp.pools.vm.machines import Machines
from cncp.tasks import guide, helptext


def settings() -> Iterator[str]:
    """Yield every setting: what it means, its values, default, option and variable."""
    defaults = json.loads((STATIC / "defaults.json").read_bytes())
    for setting in SETTINGS:
        default = defaults[setting.key]
        shown = str(default).lower() if isinstance(default, bool) else default
        yield from (f".. confval:: {setting.key}", "", f"   {escape(setting.help)}", "")
        yield from (f"   ``{setting.values}``; without, ``{shown}``.", "")
        yield from (f"   Option ``{setting.flag}``, variable ``{setting.variable}``.", "")


def verbs() -> Iterator[str]:
    """Yield every verb in its group: how it is called, what it does, its options, examples."""
    for title, group in guide.GROUPS.items():
        yield from _heading(title, "-")
        for name in group.verbs:
            yield from (f".. _verb-{name}:", "", *_heading(f"cncp {name}", "~"), *_verb(name))


def _verb(name: str) -> Iterator[str]:
    said = helptext.about(name)
    yield from (f".. program:: cncp {name}", "", "::", "", f"   {said.usage}", "", escape(said.text), "")
    for word, text in said.arguments.items():
        yield from (f"``{word}``", f"   {escape(text)}", "")
    for option, text in said.options.items():
        if option not in said.settings:
            yield from (f".. option:: {option}", "", f"   {escape(text)}", "")
    if said.settings:
        yield from ("Every setting is an option as well: see :doc:`settings`.", "")
    yield from (".. code-block:: console", "", *(f"   $ {example}" for example in said.examples), "")


def on_hosts() -> Iterator[str]:
    """Yield a sentence of the settings that a pool or a host can have of its own."""
    *others, last = (f":confval:`{key}`" for key in inventory.ON_HOSTS)
    yield f"Of the settings: {', '.join(others)} and {last}."


def variables() -> Iterator[str]:
    """Yield the variables that concern one run, or the machine."""
    return _variables(OTHER_VARIABLES)


def vm_variables() -> Iterator[str]:
    """Yield the variables of virtual machines."""
    return _variables(VM_VARIABLES)


def _variables(table: Mapping[str, str]) -> Iterator[str]:
    for name, text in sorted(table.items()):
        yield from (f".. envvar:: {name}", "", f"   {escape(text)}", "")


def instances() -> Iterator[str]:
    """Yield every key of a pool of instances: what it means, its values, and what it is without."""
    return _wants(cloud_table.WANTS)


def netboot() -> Iterator[str]:
    """Yield every key of a pool of netbooted nodes."""
    return _wants(netboot_table.WANTS)


def machines() -> Iterator[str]:
    """Yield every key of a pool of virtual machines."""
    return _wants(Machines.wants)


def _wants(table: Mapping[str, Want]) -> Iterator[str]:
    for key, want in table.items():
        without = "" if want.default in (None, "", 0, 0.0, ()) else f"; without, ``{_shown(key, want)}``"
        needed = "; must be given" if want.default is None else without
        yield from (f"``{key}``", f"   {escape(want.help)}: ``{want.values}``{needed}.", "")


def _shown(key: str, want: Want) -> str:
    return f"{want.default // 3600}h" if key == "deadline" else str(want.default)


def _heading(title: str, mark: str) -> Iterator[str]:
    yield from (title, mark * len(title), "")


class Table(SphinxDirective):
    """Stands for a table of the code."""

    required_arguments = 1

    def run(self) -> list[Node]:
        """Return the table as nodes of the document."""
        kinds: Mapping[str, Callable[[], Iterator[str]]] = {
            "settings": settings,
            "verbs": verbs,
            "on-hosts": on_hosts,
            "variables": variables,
            "vm-variables": vm_variables,
            "instances": instances,
            "netboot": netboot,
            "machines": machines,
        }
        # The page stays as it is when the code's tables change.
        self.env.note_reread()
        if self.arguments[0] not in kinds:
            raise self.error(f"there is no table {self.arguments[0]}: name one of {', '.join(kinds)}")
        return self.parse_text_to_nodes("\n".join(kinds[self.arguments[0]]()), allow_section_headings=True)


def without_links(app: Sphinx, tree: document, _name: str) -> None:
    """Leave the words of a link to another part alone in the man page, which has nowhere to lead."""
    if app.builder.name == "man":
        for link in [*tree.findall(reference)]:
            if not link.get("refuri", "").startswith("https:"):
                link.replace_self(link.children)


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of the directive."""
    app.add_directive("cncp", Table)
    app.connect("doctree-resolved", without_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
