"""The agent in an image: tells cidd that it is there, and does what cidd asks, to the point of another image.

Standard library only, and nothing of ours: it runs in every image, by itself. What an image does to drain, and how
its boot loader is told what comes next, are programs in a folder: ``drain``, ``resume`` where it is to stay after all,
``switch IMAGE``, and ``blancmange IMAGE``, which finds the key of that boot on its standard input. An image with
engines has ``join`` as well, which finds there what they join by, and ``leave``; neither has anybody wait.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import http.client
import json
import random
import ssl
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

WAIT = 50  # s that cidd may hold an answer back
_PATIENCE = 20.0  # s on top of that
_SOON, _BEGUN = 10, 18  # s, and how many such waits after engines have begun to join
_FIRST, _LAST = 1.0, 30.0  # s between tries, doubled from one to the next
_LARGEST = 16 << 20  # bytes of an answer: of each node cidd says half a KiB
_VERBS = ("none", "drain", "switch", "blancmange")


class CiddError(Exception):
    """cidd could not be asked, or has refused: ``status`` is HTTP's, 0 without an answer.

    ``serial`` is the highest that cidd has had with this key, where that is why.
    """

    def __init__(self, message: str, status: int = 0, hint: str = "", serial: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.hint = hint
        self.serial = serial


class Server:
    """cidd, known by its certificate alone: what another answers is not read, and nothing is said to it."""

    def __init__(self, url: str, fingerprint: str) -> None:
        """``url`` is https://HOST:PORT, ``fingerprint`` the SHA-256 of the certificate, hexadecimal."""
        try:
            where = urllib.parse.urlsplit(url)
            host, port = where.hostname, where.port
        except ValueError:
            host = port = None
        if not host or not port or where.scheme != "https":
            raise CiddError(f"{url!r} is no address of cidd: it is written https://HOST:PORT")
        self._where = (host, port)
        self._fingerprint = fingerprint

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> bytes:
        """Return the answer to a request. Raises CiddError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(*self._where, timeout=WAIT + _PATIENCE, context=context)
        try:
            connection.connect()
            seen = connection.sock.getpeercert(binary_form=True) or b""
            if not hmac.compare_digest(hashlib.sha256(seen).hexdigest(), self._fingerprint):
                raise CiddError(f"{self._where[0]} has another certificate than cidd's")
            connection.request(method, target, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            content = answer.read(_LARGEST + 1)
        except (OSError, http.client.HTTPException) as error:
            raise CiddError(f"cidd at {self._where[0]}:{self._where[1]} does not answer: {error}") from None
        finally:
            connection.close()
        if len(content) > _LARGEST:
            raise CiddError(f"cidd answers with more than {_LARGEST >> 20} MiB")
        if answer.status != 200:
            raise CiddError(*refusal(answer.status, content))
        return content


def refusal(status: int, content: bytes) -> tuple[str, int, str, int]:
    """Return message, status, hint and serial of an answer that is an error."""
    try:
        told = json.loads(content)
        return str(told["error"]), status, str(told["hint"]), int(told.get("serial", 0))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return f"cidd answers with status {status}", status, "", 0


def signature(secret: bytes, method: str, target: str, serial: int, body: bytes) -> str:
    """Return the HMAC (RFC 2104, SHA-256, hexadecimal) by which cidd knows a request as a node's own."""
    message = b"\n".join((method.encode(), target.encode(), str(serial).encode(), body))
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Me:
    """What an image knows of itself, from a file that only root reads."""

    url: str
    fingerprint: str
    node: str
    image: str
    key: str

    @classmethod
    def read(cls, path: Path) -> Me:
        """Read the file that was written when the image was put on the disk. Raises CiddError."""
        try:
            members = json.loads(path.read_bytes())
            return cls(*(str(members[name]) for name in cls.__dataclass_fields__))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CiddError(f"{path} does not say who this is: {type(error).__name__}: {error}") from None


class Agent:
    """One node's side. ``act`` does what cidd asks: a verb, an image, and a secret for its standard input."""

    def __init__(
        self,
        me: Me,
        act: Callable[[str, str, str], None],
        say: Callable[[str], None],
        trouble: Callable[[], str] = str,
        fresh: str = "",
    ) -> None:
        """``trouble`` is what is wrong with what the image is for, "" where nothing is: cidd shows it.

        ``fresh`` is the id of this boot where the image has begun anew with it, as `begun_anew` has it.
        """
        self._me = me
        self._trouble, self._told = trouble, ""
        self._alive = {"state": "alive", "image": me.image, "fresh": fresh}
        self._server = Server(me.url, me.fingerprint)
        self._act = act
        self._say = say
        self._serial = 0
        self._joined, self._begun = "unknown", 0

    def announce(self) -> None:
        """Say that the image runs. Where there is nothing else to do it takes work, again perhaps. Raises CiddError."""
        self._told = ""
        if self._ask("POST", "report", self._alive) == "none":
            self._act("resume", "", "")

    def follow(self) -> bool:
        """Wait for something to do and do it; False once the node is to leave its image. Raises CiddError."""
        if (trouble := self._trouble()) != self._told:
            self._ask("POST", "report", {**self._alive, "reason": trouble})
            self._told = trouble
        wait, self._begun = _SOON if self._begun else WAIT, max(0, self._begun - 1)
        answer = self._tell("GET", f"task?wait={wait}&rendezvous={self._joined}")
        verb = str(answer["verb"])
        if verb == "none":
            self._meet(str(answer["rendezvous"]))
        if verb != "drain":
            return verb not in ("switch", "blancmange")
        self._say("draining")
        self._act("drain", "", "")
        return self._ask("POST", "report", {"state": "rebooting"}) not in ("switch", "blancmange")

    def _meet(self, digest: str) -> None:
        """Have the engines join what they are to join, or nothing, where that is not so yet."""
        if digest == self._joined:
            return
        document = self._send("GET", "rendezvous").decode(errors="replace") if digest else ""
        # What fails is tried again as the rest is, and what jobs ask goes before it.
        self._act("join" if digest else "leave", "", document)
        # Whether it does is seen in a while.
        self._joined, self._begun = digest, _BEGUN if digest else 0

    def leave(self) -> None:
        """Have the boot loader boot what comes next, and reboot. Raises CiddError."""
        answer = self._tell("GET", "task")
        verb, image = str(answer["verb"]), str(answer["image"])
        self._say(f"leaving for {image}")
        self._act(verb, image, str(answer["key"]))

    def _ask(self, method: str, path: str, body: object = None) -> str:
        return str(self._tell(method, path, body)["verb"])

    def _tell(self, method: str, path: str, body: object = None) -> dict[str, object]:
        try:
            answer = json.loads(self._send(method, path, body))
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or answer.get("verb") not in _VERBS:
            raise CiddError("cidd asks for what this agent does not know")
        return {"image": "", "key": "", "rendezvous": "", **answer}

    def _send(self, method: str, path: str, body: object = None) -> bytes:
        try:
            return self._sign_and_send(method, path, body)
        except CiddError as error:
            if error.serial < max(self._serial, 1):
                raise
            # The clock has fallen back. cidd says so by TLS, and to who has the key alone.
            self._serial = error.serial
        return self._sign_and_send(method, path, body)

    def _sign_and_send(self, method: str, path: str, body: object) -> bytes:
        # Later than any before, those of an earlier run of this agent too.
        self._serial = max(self._serial + 1, time.time_ns() // 1000)
        target = f"/v1/nodes/{self._me.node}/{path}"
        content = b"" if body is None else json.dumps(body).encode()
        signed = signature(self._me.key.encode(), method, target, self._serial, content)
        headers = {"X_Cncp_Serial": str(self._serial), "X_Cncp_Key": self._me.image, "X_Cncp_Signature": signed}
        return self._server.ask(method, target, content, **headers)


def pause(seconds: float) -> None:
    """Wait before the next try, for a time that is not the same on every node."""
    time.sleep(seconds * random.uniform(0.5, 1.0))  # noqa: S311  # no secret


def run(agent: Agent, say: Callable[[str], None], wait_for: Callable[[float], None] = pause) -> None:
    """Serve until the node leaves for another image. What cannot be reached is tried again, and not all at once."""
    wait, announced = _FIRST, False
    while True:
        try:
            if not announced:
                agent.announce()
                announced = True
            while agent.follow():
                wait = _FIRST
            agent.leave()
        except CiddError as error:
            say(str(error))
            # Of a job that was cancelled meanwhile, above all.
            announced = announced and error.status not in (403, 409)
            wait_for(wait)
            wait = min(2 * wait, _LAST)
        else:
            return


def programs(folder: Path) -> Callable[[str, str, str], None]:
    """Return what runs the programs of a folder; an image without work or engines has not all of them."""

    def act(verb: str, image: str, secret: str) -> None:
        argv = [str(folder / verb), *([image] if image else [])]
        if verb in ("resume", "join", "leave") and not (folder / verb).exists():
            return
        try:
            done = subprocess.run(argv, input=secret, text=True, check=False)
        except OSError as error:
            raise CiddError(f"{argv[0]} cannot be run: {error.strerror}") from None
        if done.returncode:
            raise CiddError(f"{argv[0]} ended with status {done.returncode}")

    return act


def text(path: Path) -> str:
    """Return what programs of the image have written for cidd, on one line; "" where there is nothing."""
    try:
        return " ".join(path.read_text(errors="replace").split())[:300]
    except OSError:
        return ""


def begun_anew(proc: Path) -> str:
    """Return the id of this boot where the image has begun anew with it, "" where that is as it was left."""
    try:
        if "cncp.fresh" in (proc / "cmdline").read_text().split():
            return (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        pass
    return ""


def main() -> int:
    """Run as the service of an image; return the exit code."""
    parser = argparse.ArgumentParser(prog="cidkid", description="tell cidd that this image runs, and do what it asks")
    parser.add_argument("--me", type=Path, default=Path("/etc/cncp/cidkid.json"), metavar="FILE")
    parser.add_argument("--said", type=Path, default=Path("/run/cncp/said"), metavar="FILE")
    parser.add_argument("--programs", type=Path, default=Path("/etc/cncp/cidkid.d"), metavar="FOLDER")
    parser.add_argument("--proc", type=Path, default=Path("/proc"), metavar="FOLDER")
    given = parser.parse_args()

    def say(text: str) -> None:
        print(text, flush=True)

    try:
        me, fresh = Me.read(given.me), begun_anew(given.proc)
        agent = Agent(me, programs(given.programs), say, lambda: text(given.said), fresh)
    except CiddError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    run(agent, say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
