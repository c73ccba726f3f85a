"""Root making something for an account: what lies in the account's folders is done as the account."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from cncp.accounts import Account
from cncp.console import Console
from cncp.errors import CncpError

Work = Callable[[], None]
"""Something to be done with the rights of the account."""


def with_rights_of(account: Account, work: Work) -> None:
    """Do ``work`` as the account: where this is root, in a child that has dropped all of root's rights."""
    if os.geteuid() != 0 or account.uid == 0:
        work()
        return
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.initgroups(account.name, account.gid)
            os.setresgid(account.gid, account.gid, account.gid)
            os.setresuid(account.uid, account.uid, account.uid)
            work()
            code = 0
        except (CncpError, OSError) as error:
            code = Console().error(error)
        finally:
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        sys.exit(status)
