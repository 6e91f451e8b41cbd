"""Cleanup runs exactly once, whatever the collector does later."""

from __future__ import annotations

import gc

import pytest

from runtime.replica.cleanup import clean_up

pytestmark = pytest.mark.anyio


class Base:
    def __init__(self, log: list[str]) -> None:
        self.log = log


class Sync(Base):
    def __del__(self) -> None:
        self.log.append("cleaned")


class Async(Base):
    async def __del__(self) -> None:
        self.log.append("cleaned")


class Child(Sync):
    def __del__(self) -> None:
        super().__del__()
        self.log.append("child")


class Slotted:
    __slots__ = ("log",)

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def __del__(self) -> None:
        self.log.append("cleaned")


@pytest.mark.parametrize(
    ("cls", "expected"),
    [(Sync, ["cleaned"]), (Async, ["cleaned"]), (Child, ["cleaned", "child"]), (Slotted, ["cleaned"]), (Base, [])],
)
async def test_a_finalizer_runs_once(cls: type, expected: list[str]) -> None:
    log: list[str] = []
    model = cls(log)
    await clean_up(model, "1", None)
    assert log == expected
    assert isinstance(model, cls)
    del model
    gc.collect()
    assert log == expected


async def test_other_instances_keep_their_finalizer() -> None:
    first: list[str] = []
    second: list[str] = []
    kept, gone = Sync(first), Sync(second)
    await clean_up(gone, "1", None)
    assert type(kept) is Sync
    del kept
    gc.collect()
    assert first == ["cleaned"]


@pytest.mark.parametrize("style", ["sync", "async"])
async def test_an_unloader_takes_the_finalizers_place(style: str) -> None:
    seen: list[object] = []

    def unload(model: object, model_id: str) -> None:
        seen.append((model, model_id))

    async def unload_async(model: object, model_id: str) -> None:
        seen.append((model, model_id))

    model = object()
    await clean_up(model, "7", unload if style == "sync" else unload_async)
    assert seen == [(model, "7")]


async def test_what_a_cleanup_raises_is_raised() -> None:
    class Broken:
        def __del__(self) -> None:
            raise RuntimeError("no")

    model = Broken()
    with pytest.raises(RuntimeError, match="no"):
        await clean_up(model, "1", None)
    del model
    gc.collect()
