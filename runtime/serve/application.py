"""A bound deployment with all that its arguments name: the graph that a project deploys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtime.serve.handle import DeploymentHandle

if TYPE_CHECKING:
    from runtime.serve.deployment import Deployment


@dataclass(frozen=True, slots=True, eq=False)
class BoundDeployment:
    """One deployment of an application: its unique name, and its arguments with handles in place of bound ones."""

    name: str
    deployment: Deployment[Any]
    init_args: tuple[Any, ...]
    init_kwargs: Mapping[str, Any]
    ingress: bool


class Application:
    """What ``.bind()`` returns: a deployment, its arguments, and the applications among these."""

    def __init__(self, deployment: Deployment[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.deployment = deployment
        self.args = args
        self.kwargs = dict(kwargs)

    def deployments(self, app_name: str = "default") -> list[BoundDeployment]:
        """Return every deployment of the graph, dependencies first, the ingress last.

        One that is bound twice is there twice; the second is called ``Name_1``, as in Ray Serve. An application
        that is used in several places is deployed once. Raises ``ValueError`` for a cycle.
        """
        return _Graph(app_name).resolve(self)

    @property
    def ingress(self) -> BoundDeployment:
        """The deployment that HTTP requests reach."""
        return self.deployments()[-1]

    def __repr__(self) -> str:
        return f"Application(ingress={self.deployment.name!r})"


class _Graph:
    """One walk over an application: names in the order of the walk, each node once."""

    def __init__(self, app_name: str) -> None:
        self._app_name = app_name
        self._names: dict[int, str] = {}  # by the application's id: the same one is deployed once
        self._open: list[Application] = []  # the path from the ingress to here
        self._done: list[BoundDeployment] = []

    def resolve(self, ingress: Application) -> list[BoundDeployment]:
        self._visit(ingress)
        return self._done

    def _visit(self, app: Application) -> str:
        if id(app) in self._names:
            return self._names[id(app)]
        if app in self._open:
            path = [*self._open[self._open.index(app) :], app]
            raise ValueError("a deployment cannot depend on itself: " + " → ".join(a.deployment.name for a in path))
        self._open.append(app)
        args = tuple(self._replaced(arg) for arg in app.args)
        kwargs = {name: self._replaced(arg) for name, arg in app.kwargs.items()}
        self._open.pop()
        name = self._names[id(app)] = self._unique(app.deployment.name)
        self._done.append(BoundDeployment(name, app.deployment, args, kwargs, ingress=not self._open))
        return name

    def _replaced(self, value: Any) -> Any:
        """Return ``value`` with a handle in place of each application; what holds none stays the same object."""
        if isinstance(value, Application):
            return DeploymentHandle(self._visit(value), self._app_name)
        if isinstance(value, dict):
            changed = {key: self._replaced(item) for key, item in value.items()}
            return changed if any(changed[key] is not value[key] for key in value) else value
        if isinstance(value, list | tuple):
            items = [self._replaced(item) for item in value]
            if all(new is old for new, old in zip(items, value, strict=True)):
                return value
            if hasattr(value, "_make"):  # a named tuple
                return value._make(items)
            return type(value)(items)
        return value

    def _unique(self, name: str) -> str:
        taken = set(self._names.values())
        number, unique = 0, name
        while unique in taken:
            number += 1
            unique = f"{name}_{number}"
        return unique
