"""The owner's side: joins and leases sealed and put into a store, renewed, and taken away.

    offer = ...                                             # what the controller's machine says: Cluster
    with owner.held(home, "cncp invite"):
        owner.begin(home, Place("s3://lab/cncp"))
    seed = publish_join(store, home, offer, new_batch(), lifetime=3600, settings={"engines": "cores"})
    user_data = seed.to_json()                              # the one secret: until the deadline, or withdrawn
    withdraw(store, home, [seed.batch])                     # when the batch has joined
    publish_lease(store, home, offer, want="stop")          # members end their engines
    forget(store, home)                                     # nothing is left in the store

A document carries a serial that only grows, over all kinds and generations of a cluster. The record is written
before the store is: a serial that was cut off is skipped, never used twice.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from cncp.errors import CncpError, UsageError
from cncp.files import to_json
from cncp.rendezvous import owner
from cncp.rendezvous.documents import SKEW, Access, Body, Cluster, Seed, Want, new_key
from cncp.rendezvous.owner import LEASE, Invitation, Record
from cncp.rendezvous.sealing import seal
from cncp.rendezvous.store import MOST_SIGNED, ROOT, Exists, Store

SHORTEST, LONGEST = 600, 86400
"""Seconds that an invitation may be good for."""

_SPARED = 86400
"""Seconds for which a bundle stays that nobody is to fetch any more: more instances may be made of the same code."""


def new_batch() -> str:
    """Return the name of a batch."""
    return os.urandom(8).hex()


def join_key(cluster: str, batch: str) -> str:
    """Return where a join lies."""
    return f"{ROOT}/{cluster}/joins/{batch}.json"


def lease_key(cluster: str, generation: int) -> str:
    """Return where the leases of a generation lie."""
    return f"{ROOT}/{cluster}/lease-{generation}.json"


def bundle_key(cluster: str, digest: str) -> str:
    """Return where a bundle lies; each cluster has its own, and so knows when nobody needs it."""
    return f"{ROOT}/{cluster}/bundles/{digest}.tar"


def check_lifetime(lifetime: int) -> int:
    """Return how long an invitation is good for. Raises UsageError."""
    if not SHORTEST <= lifetime <= LONGEST:
        raise UsageError(
            f"an invitation for {lifetime / 3600:g} h is not possible",
            f"give {SHORTEST // 60} min to {LONGEST // 3600} h: --hours 0.2 to --hours {LONGEST // 3600}",
        )
    return lifetime


def _owner_key(cluster: str) -> str:
    return f"{ROOT}/{cluster}/owner.json"


def claim(store: Store, record: Record) -> None:
    """Mark the cluster's place in a store as ours. Raises CncpError where it is another's."""
    key, mine = _owner_key(record.cluster), to_json({"owner": _mark(record)})
    try:
        store.create(key, mine)
    except Exists:
        if store.get(key) != mine:
            raise CncpError(
                f"{key} in the store is another owner's",
                "two installations cannot share one rendezvous: remove CNCP_HOME/rendezvous of the copy",
            ) from None


def _mark(record: Record) -> str:
    """Return what tells owners apart, from which no key follows."""
    return hashlib.sha256(f"cncp owner {record.cluster} {record.lease_key}".encode()).hexdigest()[:16]


def publish_join(
    store: Store,
    home: Path,
    offer: Cluster,
    batch: str,
    *,
    lifetime: int,
    settings: Mapping[str, object],
    bundle: str = "",
    sha256: str = "",
    instance: bool = False,
    note: str = "",
    now: float | None = None,
) -> Seed:
    """Put a join for a batch into the store, and return its seed; there is a lease then, too.

    ``settings`` are what is different for those who join, ``bundle`` a URL of what they install from. Raises
    CncpError; a batch that is there already is made anew with the same seed's key, which a retry needs.
    """
    moment = time.time() if now is None else now
    check_lifetime(lifetime)
    with owner.held(home, "an invitation"):
        record = _known(home)
        known = record.invitations.get(batch)
        invitation = Invitation(
            key=known.key if known else new_key(),
            made=moment,
            deadline=int(moment) + lifetime,
            settings=dict(settings),
            instance=instance,
            note=note,
        )
        if sha256:
            record = _needing(record, sha256, invitation.deadline)
        record = owner.save(home, record.with_invitation(batch, invitation))
        if not record.published:
            record = _lease(store, home, record, offer, moment)
        record = _join(store, home, record, offer, batch, moment)
        url = store.url(join_key(record.cluster, batch), lifetime)
    return Seed(
        cluster=record.cluster,
        batch=batch,
        join=url,
        key=invitation.key,
        deadline=invitation.deadline,
        bundle=bundle,
        sha256=sha256,
        instance=instance,
    )


def publish_bundle(
    store: Store,
    home: Path,
    path: Path,
    digest: str,
    lifetime: int,
    say: Callable[[str], None],
    now: float | None = None,
) -> str:
    """Put what instances install from into the store, if it is not there; return its URL. Raises CncpError."""
    until = int(time.time() if now is None else now) + lifetime
    with owner.held(home, "a bundle"):
        # Written down first: what is put there and not known of would stay there.
        record = owner.save(home, _needing(_known(home), digest, until))
    key = bundle_key(record.cluster, digest)
    if not store.has(key):
        say(f"putting {path.stat().st_size / 1e6:.0f} MB of code into the store")
        store.put(key, path.read_bytes())
    return store.url(key, lifetime)


def drop_bundles(store: Store, home: Path) -> bool:
    """Take away all bundles, whoever may still fetch them; tell whether there were any. Raises CncpError."""
    with owner.held(home, "bundles"):
        record = _known(home)
        return _without_bundles(store, home, record, None) != record


def publish_lease(store: Store, home: Path, offer: Cluster, *, want: Want = "run", now: float | None = None) -> Record:
    """Put a new lease into the store, whether or not anything has changed. Raises CncpError."""
    with owner.held(home, "a lease"):
        record = owner.save(home, replace(_known(home), want=want))
        return _lease(store, home, record, offer, time.time() if now is None else now)


def renew(store: Store, home: Path, offer: Cluster, now: float | None = None, want: Want | None = None) -> bool:
    """Do what is due: publish what has changed, renew leases, take away invitations whose time is over.

    Return whether anything was. Raises CncpError, and what was not done is due again.
    """
    moment = time.time() if now is None else now
    with owner.held(home, "a lease"):
        record = _known(home)
        record = replace(record, want=want or record.want)
        before, bundles = record.serial, record.bundles
        changed = record.published != _digest(offer, record)
        if changed or moment > record.renewed + LEASE / 3:
            record = _lease(store, home, record, offer, moment)
        over = [batch for batch, invitation in record.invitations.items() if moment > invitation.deadline]
        record = _without(store, home, record, over)
        record = _without_bundles(store, home, record, moment)
        for batch, invitation in record.invitations.items():
            if changed or not invitation.serial:
                record = _join(store, home, record, offer, batch, moment)
    return bool(over) or record.serial != before or record.bundles != bundles


def withdraw(store: Store, home: Path, batches: Iterable[str]) -> None:
    """Take invitations away: their seeds are useless from now on. Raises CncpError."""
    with owner.held(home, "an invitation"):
        _without(store, home, _known(home), batches)


def renounce(home: Path) -> list[str]:
    """Shut out all who have joined or are invited: a new generation of leases with a new key.

    Return the keys of what lies in the store for nobody any more. The store itself is not needed for it.
    """
    with owner.held(home, "keys.revoke"):
        record = _known(home)
        fresh = replace(
            record, generation=record.generation + 1, lease_key=new_key(), published="", renewed=0, invitations={}
        )
        owner.save(home, fresh)
    former = [join_key(record.cluster, batch) for batch in record.invitations]
    return [lease_key(record.cluster, record.generation), *former]


def forget(store: Store, home: Path) -> None:
    """Take away all that is ours in the store, and the record. Raises CncpError."""
    with owner.held(home, "cncp uninstall"):
        clear(store, _known(home))
        owner.path(home).unlink()


def clear(store: Store, record: Record) -> None:
    """Take away all that is a cluster's in a store: what is listed, and what a list may not have yet."""
    cluster = record.cluster
    known = {lease_key(cluster, generation + 1) for generation in range(record.generation)}
    known |= {join_key(cluster, batch) for batch in record.invitations}
    known |= {bundle_key(cluster, digest) for digest in record.bundles}
    # Whose the place is, is said until nothing else is there.
    for key in (*sorted(known.union(store.keys(f"{ROOT}/{cluster}/")) - {_owner_key(cluster)}), _owner_key(cluster)):
        store.delete(key)


def _known(home: Path) -> Record:
    record = owner.load(home)
    if record is None:
        raise UsageError("there is no rendezvous here", "invite somebody: cncp invite")
    return record


def _without(store: Store, home: Path, record: Record, batches: Iterable[str]) -> Record:
    for batch in batches:
        store.delete(join_key(record.cluster, batch))
        record = owner.save(home, record.with_invitation(batch, None))
    return record


def _needing(record: Record, digest: str, until: int) -> Record:
    """Return a record that says until when a bundle is needed."""
    return replace(record, bundles={**record.bundles, digest: max(until, record.bundles.get(digest, 0))})


def _without_bundles(store: Store, home: Path, record: Record, now: float | None) -> Record:
    for digest, until in record.bundles.items():
        if now is None or now > until + _SPARED:
            store.delete(bundle_key(record.cluster, digest))
            others = {known: until for known, until in record.bundles.items() if known != digest}
            record = owner.save(home, replace(record, bundles=others))
    return record


def _kept(seconds: float) -> int:
    """Return how long a store is to keep a document, in s: longer than anybody uses it, whatever the clocks say."""
    return max(0, int(seconds)) + SKEW


def _digest(offer: Cluster, record: Record) -> str:
    """Return what tells contents apart; no key follows from it."""
    said = [asdict(offer), record.want, record.poll, record.orphan]
    return hashlib.sha256(to_json(said)).hexdigest()[:16]


def _lease(store: Store, home: Path, record: Record, offer: Cluster, moment: float) -> Record:
    record = owner.save(
        home,
        replace(
            record,
            serial=record.serial + 1,
            lease_serial=record.serial + 1,
            expires=int(moment) + LEASE,
            renewed=int(moment),
            published=_digest(offer, record),
        ),
    )
    try:
        if record.serial == 1:
            claim(store, record)
        key = lease_key(record.cluster, record.generation)
        body = _body(store, record, offer, moment, record.expires)
        store.put(key, seal(body, "lease", str(record.generation), record.lease_key), _kept(record.expires - moment))
    except BaseException:
        owner.save(home, replace(record, published="", renewed=0))
        raise
    return record


def _join(store: Store, home: Path, record: Record, offer: Cluster, batch: str, moment: float) -> Record:
    invitation = record.invitations[batch]
    record = replace(record, serial=record.serial + 1)
    owner.save(home, record)
    given = replace(offer, settings={**offer.settings, **invitation.settings})
    body = _body(store, record, given, moment, invitation.deadline)
    sealed = seal(body, "join", batch, invitation.key)
    store.put(join_key(record.cluster, batch), sealed, _kept(invitation.deadline - moment))
    return owner.save(home, record.with_invitation(batch, replace(invitation, serial=record.serial)))


def _body(store: Store, record: Record, offer: Cluster, moment: float, not_after: int) -> Body:
    lifetime = min(MOST_SIGNED, max(1, record.expires - int(moment)))
    access = Access(
        url=store.url(lease_key(record.cluster, record.generation), lifetime),
        key=record.lease_key,
        generation=record.generation,
        serial=record.lease_serial,
        expires=int(moment) + lifetime,
        poll=record.poll,
        orphan=record.orphan,
    )
    return Body(record.cluster, record.serial, int(moment), not_after, offer, access, record.want)
