"""Getting what a URL holds, as pip would: its proxy, certificates, trusted hosts and passwords.

urllib reads the proxy variables by itself. Every host is looked up once: a resolver that loses one
packet in thirty costs 5 s each time, and twenty look-ups meet one such loss every other time.
"""

from __future__ import annotations

import http.client
import netrc
import os
import re
import socket
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cncp.errors import CncpError

_TIMEOUT = 15.0  # seconds without a byte; pip's own


class NotServed(CncpError):
    """A URL could not be had. ``status`` is HTTP's, 0 where no server answered."""

    def __init__(self, message: str, status: int) -> None:
        where = "pip's configuration" if status else "the network and pip's configuration"
        super().__init__(message, f"check {where}, or use a bundle: --offline FILE")
        self.status = status


_UNREACHED = re.compile(
    r"error sending request|failed to fetch|client error|dns error|connection (was )?(refused|reset|error|broken|timed)"
    r"|timed? ?out|name resolution|name or service|temporary failure|network is unreachable|max retries exceeded"
    r"|could not connect|tunnel|certificate|no route to host|newconnectionerror",
    re.IGNORECASE,
)


def unreachable(said: str) -> bool:
    """Tell whether uv or pip says that it reached nobody, or nobody whom it believes."""
    return _UNREACHED.search(said) is not None


class Web:
    """Gets URLs under pip's options (see `pipconf.read`). Safe to use from several threads."""

    def __init__(self, options: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self._options = options
        self._environment = environment
        self._lookups = _Lookups()
        self._trusted = options.get("trusted-host", "").split()
        self._openers: dict[bool, urllib.request.OpenerDirector] = {}
        self._lock = threading.Lock()

    def get(self, url: str, *, secure: bool = False) -> bytes:
        """Return what a URL holds; with ``secure`` only over TLS all the way. Raises NotServed."""
        parts = urllib.parse.urlsplit(url)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
        host = parts.hostname or "the server"
        try:
            request = urllib.request.Request(bare)
            for name, value in self._authorization(parts).items():
                request.add_unredirected_header(name, value)
            with self._opener(parts).open(request, timeout=_TIMEOUT) as answer:
                if secure and not answer.geturl().startswith("https://"):
                    raise NotServed(f"{host} leads to an address that is not https", 0)
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise NotServed(f"{host} did not serve {parts.path}: {error.code} {error.reason}", error.code) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise NotServed(f"{host} did not serve {parts.path}: {reason}", 0) from None

    def _opener(self, parts: urllib.parse.SplitResult) -> urllib.request.OpenerDirector:
        trusted = parts.hostname in self._trusted or f"{parts.hostname}:{parts.port}" in self._trusted
        with self._lock:
            if trusted not in self._openers:
                self._openers[trusted] = self._make_opener(trusted)
            return self._openers[trusted]

    def _make_opener(self, trusted: bool) -> urllib.request.OpenerDirector:
        context = tls(self._options, self._environment)
        if trusted:
            # The user has told pip so; every file is still checked against the lock.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        handlers: list[urllib.request.BaseHandler] = [
            _Http(self._lookups),
            _Https(self._lookups, context),
            _Redirects(),
        ]
        proxy = self._options.get("proxy")
        if proxy:
            handlers.append(urllib.request.ProxyHandler({"http": proxy, "https": proxy}))
        return urllib.request.build_opener(*handlers)

    def _authorization(self, parts: urllib.parse.SplitResult) -> dict[str, str]:
        user, password = parts.username, parts.password
        if not user:
            user, password = _netrc(parts.hostname or "", self._environment)
        if not user:
            return {}
        pair = f"{urllib.parse.unquote(user)}:{urllib.parse.unquote(password or '')}"
        return {"Authorization": "Basic " + b64encode(pair.encode()).decode()}


def tls(options: Mapping[str, str], environment: Mapping[str, str]) -> ssl.SSLContext:
    """Return a context that trusts what pip is told to trust. Raises CncpError."""
    authority = authorities(options, environment)
    try:
        if authority and os.path.isdir(authority):
            context = ssl.create_default_context(capath=authority)
        else:
            context = ssl.create_default_context(cafile=authority or None)
        if options.get("client-cert"):
            context.load_cert_chain(options["client-cert"])
    except OSError as error:
        named = ", ".join(filter(None, (authority, options.get("client-cert"))))
        raise CncpError(
            f"the certificates in {named} cannot be read: {error}", "mend cert and client-cert in pip's configuration"
        ) from None
    return context


def authorities(options: Mapping[str, str], environment: Mapping[str, str]) -> str:
    """Return the certificates that pip trusts, "" for its own: cert, then the variables it reads."""
    named = (options.get("cert"), *(environment.get(variable) for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")))
    return next((path for path in named if path), "")


def _netrc(host: str, environment: Mapping[str, str]) -> tuple[str, str]:
    path = Path(environment.get("NETRC") or Path(environment.get("HOME") or "/") / ".netrc")
    try:
        found = netrc.netrc(path).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return "", ""
    return (found[0], found[2] or "") if found else ("", "")


class _Lookups:
    """Makes connections; asks for the addresses of a host once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], list[Any]] = {}
        self._lock = threading.Lock()

    def connect(self, address: tuple[str, int], timeout: Any = None, source: Any = None) -> socket.socket:
        """Stand in for ``socket.create_connection``."""
        with self._lock:
            if address not in self._known:
                self._known[address] = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
        failure: OSError | None = None
        for *_, where in self._known[address]:
            try:
                return socket.create_connection(where[:2], timeout, source)
            except OSError as error:
                failure = error
        raise failure or OSError(f"{address[0]} has no address")

    def made(self, kind: Any) -> Any:
        """Return a maker of HTTP connections of ``kind`` that connect through here."""

        def make(host: str, **options: Any) -> Any:
            connection = kind(host, **options)
            # Where a later Python has no such attribute, it looks up by itself, and all is well.
            connection._create_connection = self.connect  # noqa: SLF001
            return connection

        return make


class _Http(urllib.request.HTTPHandler):
    def __init__(self, lookups: _Lookups) -> None:
        super().__init__()
        self._make = lookups.made(http.client.HTTPConnection)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._make, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, lookups: _Lookups, context: ssl.SSLContext) -> None:
        super().__init__(context=context)
        self._make = lookups.made(http.client.HTTPSConnection)
        self._tls = context

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._make, req, context=self._tls)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Passwords follow a redirection on the server they are for, and nowhere else."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        secret = req.unredirected_hdrs.get("Authorization")
        if made is not None and secret and _server(newurl) == _server(req.full_url):
            made.add_unredirected_header("Authorization", secret)
        return made


def _server(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc
