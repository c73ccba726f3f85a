"""``python -m cncp``: the ``cncp`` command."""

import sys

try:
    from cncp import interrupted

    interrupted.while_importing(interrupted.verb_of(sys.argv))

    from cncp.tasks.program import main

    main()
except KeyboardInterrupt:
    # Before anything else could be imported.
    sys.stderr.write("interrupted\n")
    sys.exit(130)
