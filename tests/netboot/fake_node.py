"""A node that is a thread: it boots by the network as Blancmange would, and has the real cidkid in its images."""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field

from cncp.netboot import cidkid, messages
from cncp.netboot.cidkid import Agent, CiddError, Me
from cncp.netboot.messages import BOOT, PURPOSE, SERIAL, SIGNATURE, Task


class CutError(Exception):
    """The power is gone."""


@dataclass
class FakeNode:
    """A machine with a card and a disk. ``stop`` ends it; ``at`` hears where it is, and may raise CutError there.

    In the state ``broken`` it fails, each time.
    """

    number: int
    plain: str
    url: str
    fingerprint: str
    stop: threading.Event
    at: Callable[[FakeNode, str], None] = lambda _, __: None
    disk: dict[str, str] = field(default_factory=dict)
    next: str = ""
    boot_key: str = ""
    booted: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)
    broken: str = ""
    fresh: bool = False
    works: threading.Event = field(default_factory=threading.Event)

    @property
    def hardware(self) -> str:
        """Its card and its board, as iPXE tells them."""
        number = self.number
        return f"mac=52:54:00:00:{number >> 8:02x}:{number & 255:02x}&uuid={number:08x}-0000-0000-0000-000000000000"

    def run(self) -> None:
        """Be switched on until the end."""
        self.works.set()
        while not self.stop.is_set():
            try:
                if self.next in self.disk and not self.boot_key:
                    self._image()
                else:
                    self._network()
            except CutError:
                self.boot_key = ""
            except (OSError, CiddError):
                self.stop.wait(0.1)

    def _network(self) -> None:
        name, key = self._script() if not self.boot_key else (self.name, self.boot_key)
        if not key:
            self.stop.wait(0.05)
            return
        self.name, self.boot_key = name, ""
        serial, task = 0, Task("wait")
        for state in ("blancmange", "partition", "queued", "verify", "unpack", "boot"):
            while True:
                serial += 1
                self.at(self, state)
                if state == self.broken:
                    self._report(key, serial, {"state": "failed", "reason": "its disk is too small"})
                    return
                body: dict[str, object] = {"state": state}
                if state == "blancmange":
                    body["slots"] = list(self.disk)
                task = self._report(key, serial, body)
                if task.verb != "wait" or self.stop.wait(0.05):
                    break
            if task.verb != "install":
                return
        self.disk[task.image] = messages.session_key(key.encode(), task.image).decode()
        self.next = task.image

    def _script(self) -> tuple[str, str]:
        with urllib.request.urlopen(f"{self.plain}/v1/boot?{self.hardware}", timeout=20) as answer:
            script = answer.read().decode()
        found = re.search(r"node=(\S+) key=([0-9a-f]+)", script)
        if found is None and "sanboot" in script and self.disk:
            self.next = self.next or next(iter(self.disk))
        return (found[1], found[2]) if found else ("", "")

    def _report(self, key: str, serial: int, report: dict[str, object]) -> Task:
        target, body = f"/v1/nodes/{self.name}/report", json.dumps(report).encode()
        signed = cidkid.signature(key.encode(), "POST", target, serial, body)
        headers = {SERIAL: str(serial), PURPOSE: BOOT, SIGNATURE: signed}
        request = urllib.request.Request(self.plain + target, body, headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return Task.from_json(answer.read(), "a task")
        except urllib.error.HTTPError:
            # It is not expected any more: it begins anew.
            return Task("none")
        except OSError:
            # cidd is begun anew: it says it again.
            return Task("wait")

    def _image(self) -> None:
        image, fresh = self.next, self.boots()
        self.at(self, "alive")
        me = Me(self.url, self.fingerprint, self.name, image, self.disk[image])
        agent = Agent(me, self._act, lambda _: None, fresh=fresh)
        agent.announce()
        while not self.stop.is_set():
            if not agent.follow():
                agent.leave()
                return

    def boots(self) -> str:
        """Begin a boot from its disk; return the id of that where the image begins anew with it."""
        self.booted.append(self.next)
        fresh, self.fresh = self.fresh, False
        return f"{len(self.booted):x}" if fresh else ""

    def _act(self, verb: str, image: str, secret: str) -> None:
        if verb in ("join", "leave"):
            self.joined.append(secret)
            return
        self.asked.append(verb)
        if verb == "drain":
            self.works.wait()
        elif verb != "resume":
            self.next, self.boot_key, self.fresh = image, secret, verb == "switch"

    name: str = ""
