"""The rules that let engines and clients through to the controller, and nothing else."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cncp.ipp import keys
from cncp.ipp.keys import Identity


@dataclass(frozen=True)
class Opening:
    """Ports to be opened for somebody. Empty ``sources`` are everybody; ``to`` is "" for any address."""

    whom: str
    ports: tuple[int, ...]
    sources: tuple[str, ...] = ()
    to: str = ""


def openings(
    identity: Identity, listen: str, engines: Iterable[str], clients: Iterable[str], joining: int = 0
) -> list[Opening]:
    """Return what is to be opened for a controller's ports: by whom they are dialled (``keys.connection_files``).

    The last three ports, two internal ones and the monitor, are never among them. At ``joining`` machines find the
    cluster by themselves, 0 where they do not.
    """
    to = "" if listen == "0.0.0.0" else listen
    client, engine = keys.connection_files(identity, listen=listen, location="", encryption=True)
    return [
        Opening("engines", (*engine.ports, *([joining] if joining else [])), tuple(engines), to),
        Opening("clients", client.ports, tuple(clients), to),
    ]


def ranges(ports: Sequence[int]) -> list[tuple[int, int]]:
    """Return ports as (first, last) of what follows one another."""
    found: list[tuple[int, int]] = []
    for port in sorted(set(ports)):
        if found and found[-1][1] == port - 1:
            found[-1] = (found[-1][0], port)
        else:
            found.append((port, port))
    return found


def _spans(ports: Sequence[int], dash: str) -> list[str]:
    return [str(first) if first == last else f"{first}{dash}{last}" for first, last in ranges(ports)]


def nftables(wanted: Sequence[Opening]) -> Iterator[str]:
    """Yield a file for `nft -f`: the rules go before all others of the chain that filters what comes in.

    They cannot stand in a table of their own: another table's chain would drop what they accept
    (nft(8), "accept").
    """
    yield "# Take these to a file for: nft -f FILE. Another name of your table or chain goes in everywhere."
    yield "table inet filter {"
    yield "    chain input {"
    yield "        type filter hook input priority filter;"
    yield "    }"
    yield "}"
    for opening in wanted:
        source = f"ip saddr {{ {', '.join(opening.sources)} }} " if opening.sources else ""
        to = f"ip daddr {opening.to} " if opening.to else ""
        ports = ", ".join(_spans(opening.ports, "-"))
        yield f'insert rule inet filter input {source}{to}tcp dport {{ {ports} }} accept comment "cncp {opening.whom}"'


def ufw(wanted: Sequence[Opening]) -> Iterator[str]:
    """Yield commands for ufw, a source each."""
    for opening in wanted:
        ports = ",".join(_spans(opening.ports, ":"))
        for source in opening.sources or ("any",):
            to = opening.to or "any"
            yield f"ufw allow proto tcp from {source} to {to} port {ports} comment 'cncp {opening.whom}'"


def firewalld(wanted: Sequence[Opening]) -> Iterator[str]:
    """Yield commands for firewalld, in its default zone."""
    for opening in wanted:
        for span in _spans(opening.ports, "-"):
            for source in opening.sources or ("",):
                origin = f' source address="{source}"' if source else ""
                to = f' destination address="{opening.to}"' if opening.to else ""
                rule = f'rule family="ipv4"{origin}{to} port port="{span}" protocol="tcp" accept'
                yield f"firewall-cmd --permanent --add-rich-rule={shlex.quote(rule)}"
    yield "firewall-cmd --reload"


KINDS: Mapping[str, Callable[[Sequence[Opening]], Iterator[str]]] = {
    "nftables": nftables,
    "ufw": ufw,
    "firewalld": firewalld,
}
"""The kinds of firewalls, each with what writes its lines."""
