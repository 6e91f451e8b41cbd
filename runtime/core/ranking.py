"""Which of several replicas: for a request, for a cold model, for a copy. Pure reads of the pool's bitsets."""

from __future__ import annotations

from runtime.core.decisions import Candidate
from runtime.core.pool import Pool
from runtime.core.replica_view import ReplicaView
from runtime.core.ring import FEW, weigh

SHOWN = 4  # candidates kept in a decision


def first_from(pool: Pool, among: int, point: int) -> int:
    """Return the bit of ``among`` (not 0) that comes first in the order that starts at ``point``."""
    start = point % len(pool.views)
    rest = among >> start
    if rest:
        return (rest & -rest) << start
    return among & -among


def least_loaded(pool: Pool, among: int, point: int) -> int:
    """Return the bit of ``among`` (not 0) with the lowest load, ties in the order from ``point``."""
    if among & (among - 1) == 0:
        return among
    return first_from(pool, next(mask & among for mask in pool.levels if mask & among), point)


def holder(pool: Pool, among: int, point: int) -> tuple[int, int]:
    """Return (bit, case) of the holder for a request: ring order below half load, least loaded above."""
    if among & (among - 1) == 0:
        return among, 101
    low = among & pool.low
    if low:
        return first_from(pool, low, point), 101
    return least_loaded(pool, among, point), 102


def nearest(pool: Pool, among: int, point: int) -> ReplicaView:
    """Return the replica of ``among`` (not 0) that the hash ring names for ``point``, the same in every router."""
    if among.bit_count() > FEW:
        for index in pool.ring.walk(point):
            view = pool.views[index] if index < len(pool.views) else None
            if view is not None and view.bit & among and view.index == index:
                return view
    return min(pool.each(among), key=lambda view: (-weigh(point, view.index), view.id))


def home(pool: Pool, point: int, *, avoid: int, never: int = 0) -> ReplicaView | None:
    """Return where a cold model is wanted, from published state alone so that routers agree.

    By turns: not where every slot is blocked or where it failed, where its load could start now (and of these a free
    place), else a free place, free slots (the more quarters of its slots the better), the fewest wants, the coldest
    victim, the position on the ring.
    """
    among = pool.up & ~never
    if not among:
        return None
    among = among & ~pool.blocked or among
    among = among & ~avoid or among
    among = among & pool.able or among
    among = among & pool.vacant or among
    slack = among & pool.slack
    if slack:
        return nearest(pool, pool.spare.best(slack, highest=True), point)
    among = pool.crowd.best(among, highest=False)
    among = pool.cold.best(among, highest=True)
    return nearest(pool, among, point)


def copy_home(pool: Pool, point: int, avoid: int) -> ReplicaView | None:
    """Return where one more copy goes: a free slot, else an idle victim; None if there is neither."""
    among = pool.up & ~avoid & ~pool.blocked
    slack = among & pool.slack
    if slack:
        return nearest(pool, pool.spare.best(slack & pool.vacant or slack, highest=True), point)
    able = among & pool.able
    if not able:
        return None
    return nearest(pool, pool.cold.best(able, highest=True), point)


def better(pool: Pool, now_at: ReplicaView, avoid: int) -> bool:
    """Return whether a want that waits at ``now_at`` stands to gain from another replica."""
    others = pool.up & ~now_at.bit & ~pool.blocked
    if now_at.blocked:
        return bool(others)
    others &= ~avoid
    return bool(others and (others & pool.able or 2 * pool.crowd.lowest(others) < now_at.crowd))


def candidates(pool: Pool, chosen: ReplicaView) -> tuple[Candidate, ...]:
    """Return the chosen replica and a few others with what they were ranked by."""
    first = pool.first
    if len(first) < SHOWN and len(first) < pool.up.bit_count():
        first = pool.note_first(SHOWN)
    shown = [chosen, *[view for view in first if view is not chosen][: SHOWN - 1]]
    return tuple([Candidate(view.id, view.summary) for view in shown])
