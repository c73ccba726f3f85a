"""`cncp uninstall` by whatever Python 3.10 or newer there is, where the virtualenv's own is gone.

Standard library alone, as stage0: a test imports it with ``python3 -S -I``.
"""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from cncp.machine.ops import bare_uninstall

if __name__ == "__main__":
    sys.exit(bare_uninstall.main())
