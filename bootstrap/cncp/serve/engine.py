"""ipengine as a service: with its own id, its share of the machine, and an eye on its registration."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from cncp.serve.lazy_package import defer

defer("ipyparallel")
defer(
    "jupyter_client",
    write_connection_file="connect",
    find_connection_file="connect",
    BlockingKernelClient="blocking",
)
defer("psutil")

# Nothing in an engine uses the debugger, and it is half of what an engine's start and memory cost.
# ipykernel decides when its own debugger module is imported whether there is one; a task that
# imports debugpy still gets it, because the mark is taken away again below.
sys.modules["debugpy"] = None  # type: ignore[assignment]

import ipykernel.debugger  # noqa: E402, F401  # after the mark above
import zmq  # noqa: E402
from ipyparallel.engine import app as engine_app  # noqa: E402
from traitlets.config import Config  # noqa: E402

from cncp.ipp.connection_file import ConnectionFile  # noqa: E402
from cncp.ipp.hub import Hub, NoAnswer  # noqa: E402
from cncp.machine.node import Node  # noqa: E402
from cncp.serve import affinity, controller_address, death  # noqa: E402
from cncp.serve.engine_connections import Connect, Queues  # noqa: E402
from cncp.serve.kernel import Kernel, fork_without  # noqa: E402
from cncp.serve.log_files import log_to  # noqa: E402

del sys.modules["debugpy"]

# It asks for all addresses of this machine to answer this, with the whole of psutil.
engine_app.localhost = lambda: "127.0.0.1"

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
"""What libraries read to decide how many threads to start."""

_PATIENCE = 3.0  # s; the hub waits 5 for a heart

_GRACE = 8.0  # s of the 10 that service managers wait

_EXIT_UNREGISTERED = 75  # EX_TEMPFAIL: sysexits.h


class Engine(engine_app.IPEngine):  # type: ignore[misc]  # ipyparallel has no types
    """The engine without a nanny: its kernel answers in the nanny's place, and ``death`` tells of its end."""

    exit_code = 0
    moved_to = ""
    """Where the controller is, if not where its file says."""

    def start(self) -> None:
        """Run until stopped: by a signal, by a client's shutdown, or where there is no controller any more."""
        self._ran_out = False
        try:
            super().start()
        except RuntimeError:
            # What tornado raises when its loop was stopped, which is how all of these end it.
            if self._ran_out:
                raise
        self.log.info("stopped")

    async def _start(self) -> None:
        try:
            await super()._start()
        finally:
            self._ran_out = True

    def load_connection_file(self) -> None:
        """Dial the controller by its name where it has moved since the file was written."""
        super().load_connection_file()
        known = self.connection_info["location"]
        self.moved_to = controller_address.other(self.connection_info, known)
        if self.moved_to:
            self.log.warning("the controller is not at %s any more: dialling %s", known, self.moved_to)
            self.location = self.moved_to
            self.connection_info["interface"] = f"tcp://{socket.gethostbyname(self.moved_to)}"
            self.registration_url = f"{self.connection_info['interface']}:{self.connection_info['registration']}"

    def init_signal(self) -> None:
        """Handle signals here, and not in what tasks fork."""
        super().init_signal()
        fork_without((self._signal_stop, self._signal_sigint), (signal.SIGTERM, signal.SIGINT))

    async def complete_registration(self, reply: list[bytes], connect: Connect, tunnel: object) -> None:
        """Note which connections the heart must wait for."""
        # Only goodbyes go this way from here on: a controller that takes none has nobody wait.
        self.registrar.sndtimeo = 0
        self._queues = Queues()
        await super().complete_registration(reply, self._queues.watched(connect), tunnel)

    def start_heartbeat(self, *arguments: object, **named: object) -> None:
        """Have the heart beat, which ends the registration, and watch the registration from then on."""
        if not self._queues.wait(_PATIENCE):
            self.log.warning("not all queues are connected: tasks from the others may be lost")
        super().start_heartbeat(*arguments, **named)
        connection = ConnectionFile.read(Path(self.url_file).read_bytes(), self.url_file)
        period = max(2.0, self.timeout / 6)
        watch = threading.Thread(
            target=watch_registration,
            args=(replace(connection, location=self.location), self.ident, period, self.log),
            daemon=True,
        )
        watch.start()

    def abort(self) -> None:
        """End when nobody has answered the registration, to be started again.

        ipyparallel says goodbye first, which waits for ever where the address is not the controller's.
        """
        self.log.critical("nobody answered the registration within %.0f s: ending, to be started again", self.timeout)
        end_now(_EXIT_UNREGISTERED)

    def _hb_monitor(self) -> None:
        with contextlib.suppress(zmq.Again):
            super()._hb_monitor()
        if self._hb_missed_beats >= self.max_heartbeat_misses:
            self.exit_code = _EXIT_UNREGISTERED
            self.loop.stop()

    def _signal_stop(self, number: int, frame: object) -> None:
        """Say goodbye, so that no more tasks come, and give the one that runs some time."""
        with contextlib.suppress(zmq.ZMQError):
            content = {"id": self.id, "uuid": self.ident}
            self.session.send(self.registrar, "unregistration_request", content=content)
        # It is an orderly end as well where the task goes on: a service manager would call its own a failure.
        last = threading.Timer(_GRACE, end_now, [0])
        last.daemon = True
        last.start()
        super()._signal_stop(number, frame)


def end_now(code: int) -> None:
    """End this process, whatever waits in it; its log is written."""
    logging.shutdown()
    os._exit(code)


def watch_registration(connection: ConnectionFile, uuid: str, period: float, log: object) -> None:
    """End this process when the hub answers, but does not know it any more.

    An engine that was silent beyond the tolerance (suspended, or cut off) is unregistered and
    never registers again by itself. Asked every ``period`` seconds with a random part, so that
    engines do not ask all at once. No answer means no controller, which the heartbeat looks after.
    """
    hub = Hub(connection)
    unknown = 0
    while True:
        time.sleep(period * random.uniform(0.8, 1.2))  # noqa: S311  # no secret
        try:
            known = uuid in hub.engines(timeout=period).values()
        except NoAnswer:
            continue
        unknown = 0 if known else unknown + 1
        # Twice, because a controller that has just been restarted may still be filling its table.
        if unknown >= 2:
            log.critical("the hub no longer knows this engine: ending, to be started again")  # type: ignore[attr-defined]
            os._exit(_EXIT_UNREGISTERED)


def set_share(node: Node, number: int) -> None:
    """Give this process its processors, its number of threads and its GPU, before any library is loaded."""
    affinity.apply(node.settings.pin, number, node.threads)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(node.threads)))
    if node.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = node.gpus[number % len(node.gpus)]


def serve(node: Node, number: int, uuid: str) -> None:
    """Run engine ``number`` of a node, known to the hub as ``uuid``."""
    set_share(node, number)
    engine_app.Kernel = Kernel
    # ipyparallel's hub knows an engine that a client has shut down by its session.
    config = Config(Session={"session": uuid})
    app = Engine.instance(ident=uuid, id=number, enable_nanny=False, config=config)
    # The name by which others reach this machine is none that it needs to know itself.
    near = node.local_address if node.controller else None
    app.initialize([f"--profile-dir={node.profile_dir}", *([f"--IPEngine.location={near}"] if near else [])])
    log_to(node, f"engine-{number}", app.log)
    watch = death.tell(Path(app.url_file), uuid, app.moved_to or near)
    try:
        app.start()
    finally:
        # What a task left waiting at the end of Python is nothing that a service manager should have to end.
        last = threading.Timer(_GRACE, end_now, [app.exit_code])
        last.daemon = True
        last.start()
        watch.returncode = 0  # it outlives this process, which is what it is for
    sys.exit(app.exit_code)
