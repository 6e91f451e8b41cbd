"""Several routers share a replica's places: what was loaded for one that finds none free is kept for it."""

from __future__ import annotations

import pytest

from runtime.core import events as ev
from runtime.simulate.run import simulate
from runtime.simulate.shape import Shape, Span
from runtime.simulate.synthetic import Mix, Synthetic
from tests.core.fakes import Replica, key, of


def crowded() -> Replica:
    """A replica whose only place serves router 0, and that has just refused router 1 the model it loaded for it."""
    replica = Replica(slots=(2,), places=1, swap_wait_s=60.0)
    replica.load("busy")
    replica.offer("r0", "busy")
    replica.want("m", link=1)
    replica.do(ev.Loaded(key("m")), after=0.1)
    answer = replica.offer("r1", "m", link=1)
    assert isinstance(answer, ev.Refuse)
    assert answer.why == "full"
    replica.do(ev.Released(1, "m"))  # the last waiting request was sent, as its router sees it
    return replica


def test_a_model_whose_request_found_no_place_is_not_evicted_before_it_was_used() -> None:
    replica = crowded()
    replica.want("x")
    replica.pass_time(1.0)
    assert replica.state("m") == "resident"
    assert [offer.link for offer in of(ev.OfferPlace, replica.do(ev.Ended("r0")))] == [1]
    assert isinstance(replica.offer("r1", "m", link=1), ev.Admit)
    replica.do(ev.Ended("r1"))
    assert {replica.state("m"), replica.state("busy")} & {"unloading"}
    assert len(replica.residency.state.claims) == 0


@pytest.mark.parametrize("end", [ev.PlacePassed(1), ev.LinkDown(1), None])
def test_it_is_kept_no_longer_than_its_router_wants_it(end: ev.PlacePassed | ev.LinkDown | None) -> None:
    replica = crowded()
    if isinstance(end, ev.PlacePassed):
        replica.do(ev.Ended("r0"))
    assert len(replica.residency.state.claims) == 1
    if end is None:
        replica.pass_time(6.0)  # longer than any claim lasts
    else:
        replica.do(end)
    assert len(replica.residency.state.claims) == 0
    assert "m" in replica.residency.state.caches[0].idle


@pytest.mark.parametrize(("places", "most"), [(5, 1.1), (2, 1.6)])
def test_more_routers_do_not_mean_more_loads(places: int, most: float) -> None:
    def loads(routers: int) -> int:
        shape = Shape(replicas=2, slots=2, places=places, routers=routers, load_s=Span(0.2), work_s=Span(0.1))
        traces = [Synthetic(Mix(8, 0.0), count=600, rate=1.0, seed=seed) for seed in range(3)]
        return sum(simulate(shape, trace, clients=32).loads for trace in traces)

    alone = loads(1)
    assert loads(2) <= most * alone
    assert loads(4) <= most * alone


@pytest.mark.parametrize("places", [1, 2, 5])
def test_an_owed_router_gets_a_place_within_as_many_completions_as_routers_times_places(places: int) -> None:
    """Router 0 asks again whenever anything ends; the others have one request each."""
    routers = 4
    replica = Replica(slots=(1,), places=places)
    replica.load("m")
    running = [f"first {number}" for number in range(places)]
    for request in running:
        assert isinstance(replica.offer(request, "m", link=0), ev.Admit)
    for link in range(routers):
        assert isinstance(replica.offer(f"owed {link}", "m", link=link), ev.Refuse)
    served: list[int] = []
    for number in range(routers * places):
        for offer in of(ev.OfferPlace, replica.do(ev.Ended(running.pop(0)))):
            served.append(offer.link)
            running.append(f"{offer.link} at {number}")
            assert isinstance(replica.offer(running[-1], "m", link=offer.link), ev.Admit)
        replica.offer(f"greedy {number}", "m", link=0)
        if not running:
            break
    assert set(served) == set(range(routers))
