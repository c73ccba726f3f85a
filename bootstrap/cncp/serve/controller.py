"""ipcontroller as a service: one that notices when it is broken, and ends, to be started again."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import zmq
from ipyparallel import util
from ipyparallel.controller import app as controller_app
from ipyparallel.controller import heartmonitor
from ipyparallel.controller.hub import Hub
from ipyparallel.controller.sqlitedb import SQLiteDB
from tornado.ioloop import PeriodicCallback
from zmq.eventloop.zmqstream import ZMQStream

from cncp.ipp.engine_uuid import host_in, slot
from cncp.machine.node import Node
from cncp.ports import listening
from cncp.serve.announcements import Announcements
from cncp.serve.draining import DrainingScheduler, bind_alive, relay
from cncp.serve.engine_ids import Places
from cncp.serve.heartbeat import PromptMonitor, expect_hearts
from cncp.serve.log_files import RotatedFile, log_to
from cncp.serve.pdeathsig import die_with
from cncp.serve.registration import guard, prune, save_engines
from cncp.serve.results_db import ResultsDB

STATE = "engines.json"
"""Where the hub keeps which engines there are (``IPController.init_hub``), in the profile's folder for logs."""

_CHECK_PERIOD = 10_000  # ms; a look at all sockets is 30 ms of processor time, and dead children are noticed at once


class Controller(controller_app.IPController):  # type: ignore[misc]  # ipyparallel has no types
    """The controller with its schedulers under guard."""

    _stopping = False

    def init_hub(self) -> None:
        """Let an engine that comes back take its own id, whatever became of its predecessor."""
        if self.db_class is SQLiteDB:  # type: ignore[has-type]  # a trait
            self.db_class = ResultsDB
        places = Places(Path(self.profile_dir.log_dir) / STATE)
        # ipyparallel writes this file in place, without the places, and for the first time while it reads
        # it: cut off half-way, all engines would be lost.
        Hub._save_engine_state = lambda hub: save_engines(hub, places)  # noqa: SLF001
        # The heart monitor is a child that is forked from here, and takes its class from its module.
        heartmonitor.HeartMonitor = PromptMonitor
        # The same of the task scheduler, and of how it binds.
        controller_app.TaskScheduler = DrainingScheduler
        util.bind = bind_alive
        # init_hub sleeps for a quarter of a second before it connects to the task scheduler, which zmq
        # does not ask for; nothing else in that module uses the clock.
        controller_app.time = SimpleNamespace(sleep=lambda _: None)
        super().init_hub()
        self._announcements.take_over(self.hub)
        guard(self.hub, places)
        relay(self.hub)
        monitor = PromptMonitor(parent=self)
        tolerance = monitor.period * monitor.max_heartmonitor_misses / 1000
        self.loop.call_later(tolerance, expect_hearts(self.hub))

    def bind(self, socket: Any, url: str) -> Any:
        """Bind a socket; in place of the one for notifications, another that says who subscribes."""
        if url == self.client_url("notification"):
            socket.close()
            socket = ZMQStream(self.context.socket(zmq.XPUB), self.loop)
            self._announcements = Announcements(socket)
        return super().bind(socket, url)

    def start(self) -> None:
        """Run until stopped, or until a child or a port is lost."""
        # The schedulers hold the ports. They must not outlive this process, however it ends.
        os.register_at_fork(after_in_child=_die_with_parent)
        self._guard = PeriodicCallback(self._check, _CHECK_PERIOD)
        self.loop.add_callback(self._guard.start)
        self.loop.add_callback(self._watch)
        super().start()
        self._flush()

    def _flush(self) -> None:
        """Write results that the database holds back: SQLiteDB commits every 2 s, and not at its end."""
        connection = getattr(self.db, "_db", None)
        if connection is not None:
            connection.commit()

    def _processes(self) -> list[Any]:
        """Return the schedulers and the heart monitor, as multiprocessing knows them."""
        return [getattr(child, "launcher", child) for child in self.children] + [self.heartmonitor_process]

    def _watch(self) -> None:
        """Notice the end of a child when it happens; the period is for ports alone."""
        for process in self._processes():
            self.loop.add_handler(process.sentinel, lambda *_: self._check(), self.loop.READ)

    def handle_signal(self, number: int, frame: object) -> None:
        """Stop, without taking it for a failure that the children end."""
        # Not by taking the guards away: the signal may have come in the middle of a look.
        self._stopping = True
        super().handle_signal(number, frame)

    def _check(self) -> None:
        """End at once when a scheduler is dead or no longer listens: half a controller loses tasks."""
        processes = self._processes()
        dead = [process.name for process in processes if not process.is_alive()]
        lost = set() if dead else self._ports() - listening([os.getpid(), *(process.pid for process in processes)])
        if (dead or lost) and not self._stopping:
            problem = f"{', '.join(dead)} died" if dead else f"ports {sorted(lost)} are closed"
            self.log.critical("%s: ending, to be started again", problem)
            self.terminate_children()
            self._flush()
            logging.shutdown()
            os._exit(70)  # EX_SOFTWARE: sysexits.h

    def _ports(self) -> set[int]:
        infos = (self.engine_info, self.client_info)
        return {port for info in infos for value in info.values() for port in _integers(value)}


def _integers(value: object) -> list[int]:
    if isinstance(value, list):
        return [item for member in value for item in _integers(member)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []


def _die_with_parent() -> None:
    """In a child: ask the kernel for SIGKILL when the parent dies, and leave its log file alone."""
    die_with(signal.SIGKILL)
    app = Controller._instance  # noqa: SLF001
    for handler in list(app.log.handlers) if app else ():
        if isinstance(handler, RotatedFile):
            app.log.removeHandler(handler)


def wanted(node: Node, uuid: str) -> bool:
    """Tell whether an engine of the saved table can still be there: one of this machine has its number here."""
    place = slot(uuid)
    return place is None or place[0] != host_in(node.host) or place[1] in node.engine_ids


def serve(node: Node) -> None:
    """Run the controller of a node."""
    # Python 3.14 starts children through a server process that would have to import all again.
    multiprocessing.set_start_method("fork")
    app = Controller.instance()
    prune(node.log_dir / STATE, lambda uuid: wanted(node, uuid))
    app.initialize([f"--profile-dir={node.profile_dir}"])
    log_to(node, "controller", app.log)
    app.start()
    sys.exit(0)
