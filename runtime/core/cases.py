"""The rules of the brain by number: what ``mux explain`` says about an effect that carries a case."""

from __future__ import annotations

from typing import Final

CASES: Final[dict[int, str]] = {
    # the scheduler dispatches,
    101: "the model is resident and a holder is below half load: the first of them in ring order",
    102: "the model is resident and every holder with a free place is at half load or more: the least loaded",
    103: "the request names no model: the least loaded replica",
    104: "the id is affinity only: a replica that holds the model and has a free place",
    105: "the id is affinity only and no holder has room: the first below half load in ring order",
    106: "a place came free: the model just served goes on, up to a full batch",
    107: "a place came free: the oldest waiting request among the models of that replica",
    108: "a place came free: the oldest waiting request that any replica may serve",
    109: "the model became resident: its waiting requests go to it",
    110: "the load failed and user code handles that itself: to the replica that remembers the failure",
    # wants
    120: "no replica has the model: wanted at the best by free place, free slots, wants, coldness and hash ring",
    121: "every holder is full and the queue outlasts a load: one more copy",
    122: "the want had not started and another replica could start it now: taken back to move",
    123: "nobody waits for the model any more: the want is taken back",
    124: "the model turned up elsewhere: the want is taken back",
    125: "the load had started when its want was taken back, and requests wait again: wanted again",
    126: "the replica drains: its unstarted wants are taken back",
    127: "the want has waited at a crowded or stuck replica: taken back to move",
    128: "the model has gone from a replica: whatever was wanted of it there is over",
    129: "a load elsewhere has begun: requests are expected back when it ends",
    130: "the last waiting request of the model was dispatched: its claims are released",
    131: "a place was offered and nothing waits for it",
    132: "the replica does not answer: its unstarted wants are taken back",
    133: "an older request came back to the queue: the want is as old as that",
    # and fails
    140: "the queue is full",
    141: "too many distinct models wait",
    142: "the model failed to load a short while ago",
    143: "the load failed",
    144: "the replica died, and the request may have begun or was already tried twice",
    145: "every slot of every replica is pinned or held by a long request",
    146: "no replica has been up for too long",
    147: "the model was loading each time its replica died: it is not tried again for a while",
    148: "the replica refused the request with a failure",
    # a replica answers requests and user code,
    201: "the model is resident and a place is free",
    202: "a place is free, and the request needs no resident model",
    203: "the load failed a short while ago; user code is to see the error",
    210: "the replica is stopping",
    211: "the model is not resident here",
    212: "every place is taken or promised to a router; this router gets one in its turn",
    213: "the model failed to load here a short while ago",
    220: "a place is free and owed to the router",
    230: "the model is resident",
    231: "the load that user code waited for finished",
    240: "the model failed to load a short while ago",
    241: "the load failed",
    242: "requests that hold a model wait for each other's slots: the youngest is denied",
    243: "what is pinned, stuck or abandoned leaves no slot, or too few bytes",
    244: "the replica is stopping",
    245: "an operator unloaded the model",
    # loads and unloads
    250: "its turn to load is near: the file is fetched first, before any slot is taken",
    251: "it waits longest of those that fit, and a slot is free and one more may load",
    260: "an idle model makes room for one that is wanted",
    261: "a cold want is older than swap_wait_s: a busy model takes no more requests",
    262: "the last lease on a draining model ended",
    263: "idle for longer than idle_unload_s",
    264: "an operator asked for it",
    265: "the replica is stopping",
    266: "the load had been given up when it returned",
    267: "the models together are over the byte budget",
    268: "nobody wants the slot of the draining model any more",
    269: "the draining model's requests outlasted drain_limit_s: it stays, another one yields",
    270: "a model changed its state",
    271: "the summary changed",
    280: "the router took back a want that had not started",
    281: "the replica is stopping: the router must want the model elsewhere",
    290: "loads or cleanups that do not return hold every slot, or leave too few bytes for any model",
}


def sentence(case: int) -> str:
    """Return the rule behind ``case`` in words; empty for a number that is not known."""
    return CASES.get(case, "")
