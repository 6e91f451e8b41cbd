"""Requests at a known address: one at a time, or as a bounded load of a few threads that count their answers."""

from __future__ import annotations

import collections
import http.client
import itertools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple, Self

TIMEOUT_S = 20.0
PAUSE_S = 0.01


class Answer(NamedTuple):
    """What a request was answered with: JSON where it is JSON, else text. Header names are lower case."""

    status: int
    body: Any
    headers: dict[str, str]


def ask(url: str, path: str = "/", model: str = "", *, method: str = "GET", **headers: str) -> Answer:
    """Send one request on a connection of its own; a keyword ``x_request_id`` is a header."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    if model:
        sent["serve_multiplexed_model_id"] = model
    connection = http.client.HTTPConnection(host_of(url), timeout=TIMEOUT_S)
    try:
        connection.request(method, path, headers=sent)
        with connection.getresponse() as response:
            return answer_of(response)
    finally:
        connection.close()


@contextmanager
def asking(url: str, path: str, model: str, *, method: str = "GET") -> Iterator[Future[Answer]]:
    """Send one request and give the future of its answer; wait for it at the end."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(lambda: ask(url, path, model, method=method))


def answer_of(response: http.client.HTTPResponse) -> Answer:
    data = response.read()
    headers = {name.lower(): value for name, value in response.getheaders()}
    if headers.get("content-type") == "application/json":
        return Answer(response.status, json.loads(data), headers)
    return Answer(response.status, data.decode(errors="replace"), headers)


def host_of(url: str) -> str:
    return url.removeprefix("http://").rstrip("/")


class Load:
    """Asks ``url`` for ``models`` in turn, from ``threads`` kept connections, while it is entered.

    ``answers`` counts statuses, and the names of exceptions where no answer came. ``slowest_s`` is the longest that
    anyone waited for either.
    """

    def __init__(self, url: str, models: Sequence[str] = ("a", "b"), *, threads: int = 4, path: str = "/") -> None:
        self._host = host_of(url)
        self._models = models
        self._path = path
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on, args=(n,), daemon=True) for n in range(threads)]
        self._moved = threading.Condition()
        self.answers: collections.Counter[int | str] = collections.Counter()
        self.slowest_s = 0.0

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.more()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S + 5)
            assert not thread.is_alive(), f"a request hangs: {self.answers}"

    def more(self, count: int = 50) -> None:
        """Return once ``count`` more requests were answered with 200."""
        with self._moved:
            wanted = self.answers[200] + count
            assert self._moved.wait_for(lambda: self.answers[200] >= wanted, TIMEOUT_S), self.answers

    @property
    def bad(self) -> dict[int | str, int]:
        """How often there was anything but a 200."""
        with self._moved:
            return {answer: count for answer, count in self.answers.items() if answer != 200}

    def _ask_on(self, first: int) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=TIMEOUT_S)
        for number in itertools.count(first):
            if self._ended.wait(PAUSE_S):
                break
            self._note(*self._ask(connection, self._models[number % len(self._models)]))
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, model: str) -> tuple[int | str, float]:
        begun = time.monotonic()
        answer: int | str
        try:
            connection.request("GET", self._path, headers={"serve_multiplexed_model_id": model})
            with connection.getresponse() as response:
                response.read()
            answer = response.status
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            answer = type(error).__name__
        return answer, time.monotonic() - begun

    def _note(self, answer: int | str, seconds: float) -> None:
        with self._moved:
            self.answers[answer] += 1
            self.slowest_s = max(self.slowest_s, seconds)
            self._moved.notify_all()
