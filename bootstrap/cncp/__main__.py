"""The ``cncp`` command: ``python -m cncp``, or ``python -S`` with this file, as ~/.local/bin/cncp has it.

Python imports much of its own before anything of ours (site, and runpy for -m), and a Ctrl-C at that
time ends in a traceback. With -S this file is what comes first, and its first lines use nothing but what
is built into Python; site comes after them. A package that is installed has ``main`` for its script.
"""

import sys
from _signal import (  # type: ignore[import-not-found]  # built in
    SIG_IGN,
    SIG_UNBLOCK,
    SIGINT,
    getsignal,
    pthread_sigmask,
    signal,
)
from posix import _exit, write

if getsignal(SIGINT) != SIG_IGN:
    signal(SIGINT, lambda number, _: (write(2, b"interrupted\n"), _exit(128 + number)))

# stage0 holds it back while it turns into this.
pthread_sigmask(SIG_UNBLOCK, [SIGINT])

if sys.flags.no_site:
    # The names of our modules are not to stand for others.
    sys.path[:] = [folder for folder in sys.path if folder != __file__.rpartition("/")[0]]
    import site

    site.main()


def main() -> None:
    """Be the ``cncp`` command, also of a package that is installed: run the command line and exit."""
    try:
        from cncp import interrupted  # -S has none of ours on the path before

        interrupted.while_importing(interrupted.verb_of(sys.argv))

        from cncp.tasks import program  # what it imports takes a while

        program.main()
    except ImportError as lacking:
        # What the virtualenv had is gone, and with it most verbs; the way out is not.
        sys.path.append(__file__.rpartition("/cncp/")[0])
        from cncp.machine.ops import bare_uninstall

        sys.exit(bare_uninstall.instead(lacking))


if __name__ == "__main__":
    main()
