"""``python -m cncp``: the ``cncp`` command."""

from cncp.tasks.program import main

main()
