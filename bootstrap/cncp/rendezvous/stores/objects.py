"""Object stores of clouds: s3:// gs:// az://, by obstore, which is imported here alone.

Who we are is what the ecosystem has: the variables AWS_*, GOOGLE_* and AZURE_*, or a file with such words that
``credentials`` names, and for S3 the profile in ~/.aws. Without any, S3 asks the instance's own metadata.
"""

from __future__ import annotations

import configparser
import contextlib
import datetime
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cncp.errors import CncpError
from cncp.rendezvous.store import Exists, StoreError, check_key, insist_on_lifetime
from cncp.rendezvous.stores.credentials import said

_FAMILIES = ("AWS", "GOOGLE", "AZURE")
_RETRIES = {"max_retries": 3, "retry_timeout": datetime.timedelta(seconds=20)}


class ObjectStore:
    """A bucket, or what is below a prefix of it."""

    def __init__(self, store: Any, library: Any) -> None:
        self._store = store
        self._library = library

    @classmethod
    def at(cls, url: str, options: Mapping[str, str]) -> ObjectStore:
        """Return the store at a URL. Raises CncpError."""
        try:
            import obstore.store
        except ImportError:
            raise CncpError(
                f"rendezvous: store = {url!r} needs the package obstore",
                "install it: cncp pip install obstore, or pip install cncp[store]",
            ) from None
        endpoint = options.get("endpoint", "")
        # Its overloads know no options that are put together.
        make: Any = obstore.store.from_url
        given: dict[str, Any] = {}
        if endpoint:
            given |= {"endpoint": endpoint, "client_options": {"allow_http": endpoint.startswith("http://")}}
        if urlsplit(url).scheme == "s3":
            given |= {"region": options.get("region") or os.environ.get("AWS_REGION") or "us-east-1"}
            given |= {"virtual_hosted_style_request": not endpoint}
            given |= _of_profile(options)
        given |= {name.lower(): value for name, value in said(options.get("credentials", ""), _FAMILIES).items()}
        with _failures(url):
            return cls(make(url, retry_config=_RETRIES, **given), obstore)

    def put(self, key: str, content: bytes, lifetime: int = 0) -> None:
        """Write an object."""
        check_key(key)
        with _failures(key):
            self._library.put(self._store, key, content)

    def create(self, key: str, content: bytes) -> None:
        """Write an object that is not there yet."""
        check_key(key)
        with _failures(key):
            self._library.put(self._store, key, content, mode="create")

    def get(self, key: str) -> bytes | None:
        """Return an object, None where there is none."""
        check_key(key)
        try:
            with _failures(key):
                return bytes(self._library.get(self._store, key).bytes())
        except FileNotFoundError:
            return None

    def has(self, key: str) -> bool:
        """Tell whether an object is there."""
        check_key(key)
        try:
            with _failures(key):
                self._library.head(self._store, key)
        except FileNotFoundError:
            return False
        return True

    def delete(self, key: str) -> None:
        """Take an object away."""
        check_key(key)
        with contextlib.suppress(FileNotFoundError), _failures(key):
            self._library.delete(self._store, key)

    def keys(self, prefix: str) -> Sequence[str]:
        """Return the keys that begin so."""
        with _failures(prefix):
            pages = self._library.list(self._store, prefix=prefix)
            return sorted(str(found["path"]) for page in pages for found in page)

    def url(self, key: str, lifetime: int) -> str:
        """Return where it can be fetched from for a while."""
        until = datetime.timedelta(seconds=insist_on_lifetime(lifetime))
        check_key(key)
        with _failures(key):
            return str(self._library.sign(self._store, "GET", key, until))


@contextlib.contextmanager
def _failures(subject: str) -> Iterator[None]:
    from obstore import exceptions

    try:
        yield
    except exceptions.AlreadyExistsError:
        raise Exists(f"{subject} is there already", "use another name") from None
    except FileNotFoundError:
        raise
    except (exceptions.BaseError, OSError, ValueError) as error:
        raise StoreError(
            f"the store refuses {subject}: {_in_short(error)}",
            "check store, endpoint and region in [rendezvous], and whose credentials these are",
        ) from None


def _in_short(error: Exception) -> str:
    """Return what a store said, without the request and the configuration, which the error shows as well."""
    text = str(error)
    code = re.search(r"<Code>(\w+)</Code>", text)
    status = re.search(r"status code: (\d{3})", text)
    cause = re.search(r"(?:dns error|tcp connect error|Connection refused|connection error)[^\n]*", text)
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return " ".join(found[1] for found in (status, code) if found) or (cause[0] if cause else first[:200])


def _of_profile(options: Mapping[str, str]) -> dict[str, str]:
    """Return the keys of a profile in ~/.aws/credentials, where no variable says any."""
    if options.get("credentials") or "AWS_ACCESS_KEY_ID" in os.environ:
        return {}
    file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    parser = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(OSError, configparser.Error, UnicodeDecodeError):
        parser.read_string(file.read_text(encoding="utf-8"))
    profile = os.environ.get("AWS_PROFILE", "default")
    found = dict(parser[profile]) if parser.has_section(profile) else {}
    names = {"aws_access_key_id", "aws_secret_access_key", "aws_session_token"}
    return {name: value for name, value in found.items() if name in names}
