"""What an instance is given to boot with: a seed, and the script that makes engines of it (files/cloud/instance.sh).

Clouds keep it and show it to whoever may see instances, and to the instance itself: what is secret in it is the seed,
which opens nothing once its batch has joined.
"""

from __future__ import annotations

import re

from cncp.config.sources import STATIC
from cncp.errors import UsageError
from cncp.pools.cloud.provider import LARGEST_USER_DATA
from cncp.rendezvous.documents import Seed

SCRIPT = STATIC / "cloud" / "instance.sh"

_CERTIFICATE = """\
cat >/usr/local/share/ca-certificates/cncp.crt <<'PEM'
{certificate}
PEM
chmod 644 /usr/local/share/ca-certificates/cncp.crt
update-ca-certificates || {{
    cp /usr/local/share/ca-certificates/cncp.crt /etc/pki/ca-trust/source/anchors/ && update-ca-trust
}}"""

_INDEX = """\
printf '[global]\\nindex-url = %s\\n' '{index}' >/etc/pip.conf
chgrp cncp /etc/pip.conf && chmod 640 /etc/pip.conf"""

_STEPS = ("fetching", "installing", "joined")
_SAID = re.compile(r"^cncp: (?P<step>\w+)(?:: (?P<why>.*))?$", re.MULTILINE)


def user_data(seed: Seed, certificate: str = "", index: str = "") -> str:
    """Return the user-data for instances that join by a seed.

    ``certificate`` is one or several authorities that the instance is to trust, in PEM; ``index`` the URL of a package
    index, which may have a password in it. Raises UsageError where it becomes larger than clouds take.
    """
    more = [_CERTIFICATE.format(certificate=certificate.strip())] if certificate else []
    more += [_INDEX.format(index=index)] if index else []
    text = SCRIPT.read_text(encoding="utf-8")
    text = text.replace("@MORE@\n", "".join(f"{part}\n" for part in more)).replace("@SEED@", seed.to_json())
    size = len(text.encode())
    if size > LARGEST_USER_DATA:
        raise UsageError(
            f"what instances are to boot with has {size} bytes, and clouds take {LARGEST_USER_DATA}",
            "name a file with fewer certificates",
        )
    return text


def progress(console: str) -> tuple[str, str]:
    """Return how far an instance is by what it wrote to its console, and why it failed; "" where it says nothing."""
    said = list(_SAID.finditer(console.replace("\r\n", "\n")))
    last = next((record for record in reversed(said) if record["step"] in (*_STEPS, "failed")), None)
    return (last["step"], last["why"] or "") if last else ("", "")


def tail(console: str, lines: int = 3) -> str:
    """Return the last lines of a console that say something, on one line."""
    written = [line.strip() for line in console.splitlines() if line.strip()]
    return " · ".join(written[-lines:])
