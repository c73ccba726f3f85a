"""What subscribers are told of engines, over real sockets: what they missed, alone, and then what all are told."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import zmq
from jupyter_client.session import Session
from tornado.ioloop import IOLoop, PeriodicCallback
from zmq.eventloop.zmqstream import ZMQStream

from cncp.ipp.hub import SUBSCRIBES
from cncp.serve.announcements import WITHIN, Announcements

SESSION = Session(key=b"secret")

MARK = 99
"""Of an engine that all are told of."""


class Site:
    """A hub of which there is what announces, and subscribers; ``now`` is the time in s."""

    def __init__(self) -> None:
        self.now = 100.0
        self._context = zmq.Context()
        self._loop = IOLoop(make_current=False)
        stream = ZMQStream(self._context.socket(zmq.XPUB), self._loop)
        self._port = stream.socket.bind_to_random_port("tcp://127.0.0.1")
        self.hub: Any = SimpleNamespace(
            engines={}, session=SESSION, query_handlers={"connection_request": lambda *_: None}, notifier=None
        )
        Announcements(stream, lambda: self.now).take_over(self.hub)

    def close(self) -> None:
        self._context.destroy(linger=0)
        self._loop.close()

    def there(self, **engines: str) -> None:
        """Have the hub have other engines; nobody is told."""
        self.hub.engines = {int(name[1:]): SimpleNamespace(uuid=uuid) for name, uuid in engines.items()}

    def ask(self, **content: object) -> None:
        self.hub.query_handlers["connection_request"]([b"client"], {"content": content})

    def subscribe(self) -> zmq.Socket[bytes]:
        """Return a socket that is subscribed, as the hub knows."""
        subscriber = self._context.socket(zmq.SUB)
        subscriber.subscribe(b"")
        subscriber.connect(f"tcp://127.0.0.1:{self._port}")
        # What all are told arrives once the hub has taken the subscription, and not before.
        beat = PeriodicCallback(lambda: self._stop_or_say(subscriber), 10)
        self._loop.add_callback(beat.start)
        limit = self._loop.call_later(20, self._loop.stop)
        self._loop.start()
        self._loop.remove_timeout(limit)
        beat.stop()
        assert subscriber.poll(0)
        return subscriber

    def _stop_or_say(self, subscriber: zmq.Socket[bytes]) -> None:
        if subscriber.poll(0):
            self._loop.stop()
        else:
            self.announce("registration_notification", MARK, "")

    def announce(self, kind: str, number: int, uuid: str) -> None:
        """Tell all, as the hub does."""
        SESSION.send(self.hub.notifier.socket, kind, content={"id": number, "uuid": uuid})


@pytest.fixture
def site() -> Iterator[Site]:
    """Make a hub's side."""
    site = Site()
    yield site
    site.close()


def heard(subscriber: zmq.Socket[bytes], site: Site) -> list[str]:
    """Return what a subscriber was told until now."""
    last = uuid4().hex
    site.announce("registration_notification", MARK, last)
    said: list[str] = []
    reader = Session(key=SESSION.key)
    while subscriber.poll(20_000):
        _, frames = reader.feed_identities(subscriber.recv_multipart())
        message = reader.deserialize(frames)
        number, uuid = message["content"]["id"], message["content"]["uuid"]
        if uuid == last:
            return said
        if number != MARK:
            said.append(f"{message['msg_type'].partition('_')[0]} {number} {uuid}")
    raise AssertionError(said)


def test_a_new_subscriber_is_told_what_it_missed_and_nobody_else(site: Site) -> None:
    """What has come, what has gone, what is another with its id; what is as it was said is not told again."""
    site.there(_0="a", _1="b", _2="c")
    site.ask()
    first = site.subscribe()
    assert heard(first, site) == []
    site.ask()
    site.there(_0="a", _1="d", _3="e")
    second = site.subscribe()
    assert heard(second, site) == ["registration 1 d", "unregistration 2 c", "registration 3 e"]
    assert heard(first, site) == []


def test_who_asked_for_nothing_is_told_nothing(site: Site) -> None:
    """Answers that are too old, of clients that have subscribed, and of those that never do, are not a newcomer's."""
    site.there(_0="a")
    site.ask()
    assert heard(site.subscribe(), site) == []
    site.ask(**{SUBSCRIBES: False})
    site.there(_0="b")
    assert heard(site.subscribe(), site) == []
    site.ask()
    site.there(_0="c")
    site.now += WITHIN
    assert heard(site.subscribe(), site) == []


def test_of_several_that_connect_each_is_told_all_that_it_may_have_missed(site: Site) -> None:
    """Whose answer is whose is not said: one that subscribes late is told what an earlier answer lacks as well."""
    site.ask()
    site.there(_0="a")
    site.ask()
    site.there(_0="a", _1="b")
    both = ["registration 0 a", "registration 1 b"]
    assert heard(site.subscribe(), site) == both
    assert heard(site.subscribe(), site) == both
    # All have subscribed.
    assert heard(site.subscribe(), site) == []
