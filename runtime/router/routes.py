"""Paths to deployments: the longest ``route_prefix`` wins, on whole path segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.router.pool import Pool


class Route:
    """One public deployment. ``root``: the prefix as ASGI's root_path ("" for "/")."""

    __slots__ = ("pool", "prefix", "root")

    def __init__(self, prefix: str, pool: Pool) -> None:
        self.prefix = prefix
        self.root = prefix.rstrip("/")
        self.pool = pool

    def below(self, path: str) -> str:
        """Return the path below the prefix, with its leading slash."""
        return path[len(self.root) :] or "/"


class Routes:
    """All public routes, longest first."""

    def __init__(self, routes: list[Route]) -> None:
        self.all = sorted(routes, key=lambda route: len(route.root), reverse=True)
        self._only = self.all[0] if len(self.all) == 1 and not self.all[0].root else None

    def match(self, path: str) -> Route | None:
        if self._only is not None:
            return self._only
        for route in self.all:
            root = route.root
            if path.startswith(root) and (len(path) == len(root) or not root or path[len(root)] == "/"):
                return route
        return None
