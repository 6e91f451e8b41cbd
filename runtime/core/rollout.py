"""What to start and stop next to get from the actual replicas to the desired ones. Pure.

The caller performs the steps, waits until any instance changes its state, and asks again; there is nothing to
remember between two calls. Per deployment:

1. an instance that nobody desires (its index or deployment is gone) drains at once (a caller that wants a deployment
   to serve until what comes after it is ``covered`` leaves it out);
2. a desired slot without any live instance starts at once;
3. an outdated instance that is not ready serves nobody: it drains at once, and so does a duplicate;
4. an outdated ready instance drains once its successor (same index, new revision) is ready;
5. a successor starts beside its predecessor while fewer than ``max_surge`` slots are doubled;
6. with ``max_surge`` 0 the predecessor drains first, one at a time, while every other slot is ready;
7. a failed instance of the desired revision stops 5 and 6: the old generation keeps serving.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

InstanceState = Literal["starting", "ready", "draining", "failed"]


@dataclass(slots=True, frozen=True)
class Slot:
    """One replica as the config wants it. ``revision`` changes with the code, the config or by a restart."""

    deployment: str
    index: int
    revision: str


@dataclass(slots=True, frozen=True)
class Instance:
    """One replica process as it is. ``failed``: it cannot start and is not tried again by itself."""

    id: str
    deployment: str
    index: int
    revision: str
    state: InstanceState


@dataclass(slots=True, frozen=True)
class Start:
    slot: Slot


@dataclass(slots=True, frozen=True)
class Drain:
    """Take the instance out of the table, let it finish, end it; for a failed one: forget it."""

    instance: Instance


Step = Start | Drain


def plan(desired: Sequence[Slot], actual: Sequence[Instance], max_surge: int) -> list[Step]:
    """Return the steps that may be taken now, drains of what nobody desires first."""
    wanted = {(slot.deployment, slot.index) for slot in desired}
    steps: list[Step] = [
        Drain(one) for one in actual if (one.deployment, one.index) not in wanted and one.state != "draining"
    ]
    for deployment in dict.fromkeys(slot.deployment for slot in desired):
        slots = [slot for slot in desired if slot.deployment == deployment]
        steps += _Rollout(slots, actual, max_surge).steps()
    return steps


def covered(desired: Sequence[Slot], actual: Sequence[Instance]) -> bool:
    """Return whether every desired slot has a ready instance, whatever else there is."""
    ready = {(one.deployment, one.index, one.revision) for one in actual if one.state == "ready"}
    return all((slot.deployment, slot.index, slot.revision) in ready for slot in desired)


def settled(desired: Sequence[Slot], actual: Sequence[Instance]) -> bool:
    """Return whether exactly the desired instances exist and are ready."""
    want = sorted((slot.deployment, slot.index, slot.revision) for slot in desired)
    have = sorted((one.deployment, one.index, one.revision) for one in actual if one.state == "ready")
    return want == have and len(actual) == len(have)


class _Place:
    """One desired slot and the instances that stand in it."""

    def __init__(self, slot: Slot, actual: Sequence[Instance]) -> None:
        mine = [one for one in actual if (one.deployment, one.index) == (slot.deployment, slot.index)]
        new = [one for one in mine if one.revision == slot.revision]
        up = sorted((one for one in new if one.state in ("starting", "ready")), key=lambda one: one.state)
        self.slot = slot
        self.live = [one for one in mine if one.state != "failed"]
        self.current = next((one for one in up if one.state == "ready"), up[0] if up else None)
        self.duplicates = [one for one in up if one is not self.current]
        self.broken = any(one.state == "failed" for one in new)
        self.old = [one for one in mine if one.revision != slot.revision and one.state != "draining"]
        self.old_ready = [one for one in self.old if one.state == "ready"]
        self.ready = bool(self.old_ready) or (self.current is not None and self.current.state == "ready")


class _Rollout:
    """One deployment's slots and what may change in them now."""

    def __init__(self, slots: Sequence[Slot], actual: Sequence[Instance], max_surge: int) -> None:
        self.places = [_Place(slot, actual) for slot in slots]
        self.blocked = any(place.broken for place in self.places)
        self.surge = max_surge
        self.doubled = sum(len(place.live) > 1 for place in self.places)
        self.ready = sum(place.ready for place in self.places)

    def steps(self) -> list[Step]:
        steps: list[Step] = []
        for place in self.places:
            steps += [Drain(one) for one in place.duplicates]
            steps += [Drain(one) for one in place.old if one.state != "ready"]
            if place.current is not None:
                if place.current.state == "ready":
                    steps += [Drain(one) for one in place.old_ready]
            elif not place.live:
                steps += [] if place.broken else [Start(place.slot)]
            elif not self.blocked:
                steps += self._replace(place)
        return steps

    def _replace(self, place: _Place) -> list[Step]:
        if self.doubled < self.surge:
            self.doubled += 1
            return [Start(place.slot)]
        if self.surge <= 0 and place.old_ready and self.ready == len(self.places):
            self.ready -= 1
            return [Drain(one) for one in place.old_ready]
        return []
