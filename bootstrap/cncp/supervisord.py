"""``python -m cncp.supervisord -c FILE``: a supervisord that SIGHUP does not restart.

It is a process of the session that it was started in. At shutdown systemd sends those SIGTERM and
SIGHUP at once (systemd.kill(5), SendSIGHUP=); Python runs the handler of SIGHUP first, for which
supervisord starts everything anew, and SIGTERM is forgotten: the machine would wait 90 s for it.
"""

from __future__ import annotations

import signal

from supervisor.supervisord import main

# A mask, since supervisord installs its own handlers. Programs inherit it: `cncp.serve` lifts it again.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
main()
