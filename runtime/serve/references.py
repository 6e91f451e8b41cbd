"""What a deployment's code refers to: its decorated methods, and the decorated functions that its code names."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, Protocol, TypeVar


class Decorated(Protocol):
    """An object that stands for a user's function."""

    function: Any


D = TypeVar("D", bound=Decorated)


def decorated(target: object, kind: type[D]) -> list[D]:
    """Return the objects of ``kind`` that belong to ``target``, in definition order.

    Of a class: its methods, inherited ones first (also below another decorator, or below a plain method that
    overrides it), then the functions that its methods name. Of a function: those that it names, directly or through
    functions of its module. Of a module: those that are defined in it.
    """
    if isinstance(target, ModuleType):
        own = (value for value in vars(target).values() if isinstance(value, kind))
        return [value for value in own if value.function.__module__ == target.__name__]
    methods = list(_methods(target, kind).values())
    named = [value for value in _referenced(target, kind) if value not in methods]
    named.sort(key=lambda value: (value.function.__module__, value.function.__code__.co_firstlineno))
    return methods + named


def method_behind(cls: type, name: str, kind: type[D]) -> D | None:
    """Return the nearest ``kind`` that is called ``name`` in ``cls`` and its bases, or stands behind such a method."""
    return next((found for base in cls.__mro__ if (found := _behind(vars(base).get(name), kind)) is not None), None)


def _behind(value: object, kind: type[D]) -> D | None:
    while not isinstance(value, kind):
        value = vars(value).get("__wrapped__") if hasattr(value, "__dict__") else None
        if value is None:
            return None
    return value


def _methods(target: object, kind: type[D]) -> dict[str, D]:
    """Return a class's own and inherited ones by name; a base's come before its subclass's."""
    found: dict[str, D] = {}
    for cls in reversed(target.__mro__) if isinstance(target, type) else ():
        if cls.__module__ != "builtins":
            found.update((name, one) for name, value in vars(cls).items() if (one := _behind(value, kind)) is not None)
    return found


def _attributes(target: object) -> dict[str, object]:
    """Return what is visible on a class, by name; a base's attributes come before its subclass's."""
    visible: dict[str, object] = {}
    for cls in reversed(target.__mro__) if isinstance(target, type) else ():
        if cls.__module__ != "builtins":
            visible.update(vars(cls))
    return visible


def _referenced(target: object, kind: type[D]) -> list[D]:
    roots = list(_attributes(target).values()) if isinstance(target, type) else [target]
    waiting = [function for root in roots for function in _functions(root)]
    seen = set(waiting)
    found: dict[int, D] = {}
    while waiting:
        function = waiting.pop()
        for value in _names(function):
            if isinstance(value, kind):
                found[id(value)] = value
            for inner in _functions(value):
                if inner not in seen and inner.__module__ == function.__module__:
                    seen.add(inner)
                    waiting.append(inner)
    return list(found.values())


def _functions(value: object) -> Iterator[FunctionType]:
    """Yield the plain functions behind a function, method wrapper, property, partial or decorated object."""
    if isinstance(value, FunctionType):
        yield value
        if hasattr(value, "__wrapped__"):
            yield from _functions(value.__wrapped__)
    elif isinstance(value, property):
        yield from (accessor for accessor in (value.fget, value.fset) if isinstance(accessor, FunctionType))
    elif isinstance(value, staticmethod | classmethod):
        yield from _functions(value.__func__)
    elif isinstance(value, functools.partial):
        yield from _functions(value.func)
    elif not isinstance(value, type | ModuleType):
        yield from _functions(vars(value).get("function")) if hasattr(value, "__dict__") else ()


def _names(function: FunctionType) -> Iterator[object]:
    """Yield the values of the globals and free variables that a function's code names, and of modules' attributes."""
    names = set(_code_names(function.__code__))
    for name in sorted(names):
        value = function.__globals__.get(name)
        yield value
        if isinstance(value, ModuleType):
            yield from (vars(value)[attribute] for attribute in sorted(names) if attribute in vars(value))
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet: a local function that is defined further down
            continue


def _code_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_names(constant)
