"""Who makes room for a want: an idle model at once, a busy one by yielding. Chooses; changes nothing."""

from __future__ import annotations

from math import inf
from operator import itemgetter

from runtime.core.decisions import Candidate
from runtime.core.eviction import Standing, Worth
from runtime.core.replica_state import ReplicaState
from runtime.core.slots import Cache, Entry
from runtime.core.wants import Want

FREQUENT = 2.0  # load times: a model that is used more often than once in so long is in frequent use
IDLE_GRACE = 0.06  # of its load time: how long a model in frequent use stays although idle
HORIZON = 0.5  # of its load time: how soon requests must be expected back for it to stay for them
RESIDENCY = 0.5  # of its load time: how long a busy model stays, and serves who claims it, before it may yield
SHOWN = 8  # candidates kept in a decision


def standing(state: ReplicaState, entry: Entry, now: float) -> Standing:
    """Return what the eviction policy may know about ``entry``."""
    past = entry.past
    return Standing(now - entry.idle_since, past.uses, state.history.frequency(past), entry.load_s, entry.size_bytes)


def spared_until(state: ReplicaState, cache: Cache, entry: Entry, want: Want | None, now: float) -> float:
    """Return when an idle entry may go for ``want``; a copy takes only what has been idle for a load time.

    A model in frequent use stays for a moment, and for as long as requests are expected back: while another model
    here serves, and where a load, here or elsewhere, ends before half of the entry's own load time has passed.
    """
    gap_s = state.history.gap_s(entry.past, now)
    if want is not None and not want.cold and entry.key.model != want.spare:
        return entry.idle_since + max(entry.load_s, gap_s if gap_s < inf else 0.0)
    if gap_s >= FREQUENT * entry.load_s:
        return -inf
    until = entry.idle_since + IDLE_GRACE * entry.load_s
    at_most = entry.idle_since + entry.load_s
    for other in cache.entries.values():
        if other.state == "loading":
            until = max(until, _returning(other.since + (other.past.load_s or entry.load_s), entry, now))
        elif other.leases and other.state == "resident":
            until = at_most
    for end in state.returns:
        until = max(until, _returning(end, entry, now))
    return min(until, at_most)


def _returning(end: float, entry: Entry, now: float) -> float:
    """Return until when ``entry`` stays for requests that come back when a load has ended."""
    return end + IDLE_GRACE * entry.load_s if end <= now + HORIZON * entry.load_s else -inf


def idle_victim(state: ReplicaState, cache: Cache, want: Want | None, now: float) -> Entry | None:
    """Return the idle model of least worth that may go now for ``want`` (None: to shed), and note the choice."""
    ripe: list[tuple[Worth, Standing, Entry]] = []
    for entry in cache.idle.values():
        until = spared_until(state, cache, entry, want, now) if want is not None else -inf
        if until > now:
            state.arm(until)
            continue
        known = standing(state, entry, now)
        if want is not None and entry.key.model == want.spare:
            ripe = [((), known, entry)]
            break
        ripe.append((state.policy.worth(known), known, entry))
    if not ripe:
        return None
    victim = min(ripe, key=itemgetter(0))[2]
    shown = sorted(ripe, key=itemgetter(0))[:SHOWN]
    state.decisions.note(
        now,
        260 if want is not None else 267,
        want.key.model if want is not None else victim.key.model,
        victim.key.model,
        tuple([Candidate(entry.key.model, known) for _, known, entry in shown]),
    )
    return victim


def yielder(state: ReplicaState, cache: Cache, want: Want, now: float) -> Entry | None:
    """Return the busy model that yields to ``want``: without requests first, then the longest resident."""
    ripe: list[tuple[tuple[bool, float], Entry]] = []
    for entry in cache.entries.values():
        if entry.state != "resident" or entry.pinned or entry.stuck:
            continue
        until = max([entry.loaded_at + RESIDENCY * entry.load_s, *entry.claims.values()])
        if until > now:
            state.arm(until)
        else:
            ripe.append(((entry.leases > 0, entry.loaded_at), entry))
    if not ripe:
        return None
    victim = min(ripe, key=itemgetter(0))[1]
    shown = sorted(ripe, key=itemgetter(0))[:SHOWN]
    state.decisions.note(
        now,
        261,
        want.key.model,
        victim.key.model,
        tuple(
            Candidate(entry.key.model, {"leases": entry.leases, "resident_s": now - entry.loaded_at})
            for _, entry in shown
        ),
    )
    return victim
