"""How many other models were asked for since a model's last request: what an LRU cache must hold for a hit.

One pass gives the hits of every cache size at once (Mattson, Gecsei, Slutz, Traiger: Evaluation techniques for
storage hierarchies, IBM Systems Journal 1970). The count comes from a Fenwick tree over the order of last requests
(Bennett, Kruskal: LRU stack processing, IBM Journal 1975; Fenwick, Software: Practice and Experience 1994), so a
request costs O(log models).
"""

from __future__ import annotations

from typing import Final

LEAST: Final = 1024


class StackDistances:
    """The LRU stack of a trace. Memory grows with the number of different models, not with the trace."""

    def __init__(self) -> None:
        self._place: dict[str, int] = {}  # model → the position of its last request; later ones are larger
        self._next = 1
        self._tree = [0] * (LEAST + 1)

    def use(self, model: str) -> int:
        """Return the slots that an LRU cache needs to hit this request; 0: never asked for before."""
        if self._next >= len(self._tree):
            self._compact()
        place = self._place.get(model)
        if place is None:
            distance = 0
        else:
            distance = len(self._place) - self._before(place) + 1
            self._add(place, -1)
        self._place[model] = self._next
        self._add(self._next, 1)
        self._next += 1
        return distance

    def forget(self, model: str) -> None:
        """Take a model out of the stack."""
        place = self._place.pop(model, None)
        if place is not None:
            self._add(place, -1)

    def _before(self, place: int) -> int:
        """Return how many models had their last request at ``place`` or earlier."""
        count, tree = 0, self._tree
        while place:
            count += tree[place]
            place &= place - 1
        return count

    def _add(self, place: int, change: int) -> None:
        tree, size = self._tree, len(self._tree)
        while place < size:
            tree[place] += change
            place += place & -place

    def _compact(self) -> None:
        """Number the last requests anew, without gaps, in a tree of twice their number."""
        models = sorted(self._place, key=self._place.__getitem__)
        size = max(LEAST, 2 * len(models))
        tree = [0] * (size + 1)
        for place in range(1, len(models) + 1):
            tree[place] = 1
        for place in range(1, size + 1):
            above = place + (place & -place)
            if above <= size:
                tree[above] += tree[place]
        self._tree = tree
        self._place = {model: place for place, model in enumerate(models, 1)}
        self._next = len(models) + 1

    def __len__(self) -> int:
        return len(self._place)
