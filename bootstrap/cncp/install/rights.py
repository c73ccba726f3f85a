"""Root setting up another user's cluster: what is the user's is done as the user."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from cncp.console import Console
from cncp.errors import CncpError
from cncp.machine.place import Account

Work = Callable[[], None]
"""Something to be done with the rights of the login user."""


def acts_for(account: Account) -> bool:
    """Tell whether this is root, setting up another user's cluster."""
    return os.geteuid() == 0 and account.uid != 0


def with_rights_of(account: Account, work: Work) -> None:
    """Do ``work`` as the login user: where root acts for one, in a child that has dropped root."""
    if not acts_for(account):
        work()
        return
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.initgroups(account.name, account.gid)
            os.setgid(account.gid)
            os.setuid(account.uid)
            os.environ.update(HOME=account.home, USER=account.name, LOGNAME=account.name)
            # Root's own places for caches and configuration are closed to the user.
            for name in [one for one in os.environ if one.startswith("XDG_")]:
                del os.environ[name]
            work()
            code = 0
        except (CncpError, OSError) as error:
            code = Console().error(error)
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        sys.exit(status)
