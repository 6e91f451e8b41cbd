"""The pure pieces: headers, ids, routes, heads of answers."""

from __future__ import annotations

import pytest

from runtime.core.events import Failure
from runtime.errors import BadModelId, BadRequest, UserCodeError
from runtime.router.answers import error_of, relayed_error, safe_head
from runtime.router.model_ids import ModelIds
from runtime.router.request_headers import HeaderReader, spellings, timeout_of
from runtime.router.request_ids import RequestIds
from runtime.router.routes import Route, Routes
from runtime.router.settings import ModelIdSettings
from runtime.router.tally import BOUNDS_MS, Histogram


def test_a_header_is_known_in_every_spelling() -> None:
    assert sorted(spellings("A_b-c")) == [b"a-b-c", b"a-b_c", b"a_b-c", b"a_b_c"]
    many = "_".join("abcdefghijklm")
    assert len(spellings(many)) == 2


def test_one_pass_finds_what_the_router_needs() -> None:
    read = HeaderReader("serve_multiplexed_model_id").read
    found = read(
        [
            (b"host", b"a"), (b"serve-multiplexed_model-id", b"1"), (b"serve_multiplexed_model_id", b"2 \t"),
            (b"content-length", b"12"), (b"x-request-id", b"r"), (b"x-request-timeout-seconds", b"3"),
            (b"connection", b"a"), (b"connection", b"b"), (b"expect", b"100-Continue"),
        ]
    )  # fmt: skip
    assert (found.model, found.content_length, found.hosts, found.request_id) == (b"2", 12, 1, b"r")
    assert (found.timeout, found.connection, found.expects_continue, found.has_body) == (b"3", b"a,b", True, True)


def test_connection_cannot_name_headers_that_frame_the_request() -> None:
    headers = [
        (b"connection", b"Host, Content-Length, X-a"),
        (b"host", b"h"),
        (b"content-length", b"1"),
        (b"x-a", b"1"),
    ]
    found = HeaderReader("m").read(headers)
    assert found.forwarded(headers) == [(b"host", b"h"), (b"content-length", b"1")]


@pytest.mark.parametrize("value", [b"0", b"-1", b"nan", b"inf", b"x", b""])
def test_a_bad_timeout_is_refused(value: bytes) -> None:
    with pytest.raises(BadRequest):
        timeout_of(value)


def test_request_ids_do_not_repeat() -> None:
    ids = RequestIds()
    made = [ids.new() for _ in range(5000)]
    assert len(set(made)) == 5000
    assert {len(one) for one in made} == {10}
    ids._left = 1
    before = ids._prefix
    assert ids.new()[:6] != before


@pytest.mark.parametrize("good", ["1", "a.b-c_d", "org/model/v1", "a" * 200])
def test_good_model_ids(good: str) -> None:
    ids = ModelIds(ModelIdSettings())
    assert ids.check(good.encode()) == ids.check(good.encode()) == good


@pytest.mark.parametrize(
    "bad",
    [b"", b"..", b"a/../b", b"/a", b"a/", b"a" * 201, b"\xff", "ü".encode(), b"a\nb", b".", b"./3", b"3/.", b"3//4"],
)
def test_bad_model_ids(bad: bytes) -> None:
    with pytest.raises(BadModelId):
        ModelIds(ModelIdSettings()).check(bad)


def test_a_wider_pattern_still_keeps_ids_from_climbing() -> None:
    ids = ModelIds(ModelIdSettings(pattern=".*"))
    assert ids.check("ü b".encode()) == ids.check("ü b".encode("latin-1")) == "ü b"
    for bad in (b"a/../b", b"/a", b"a\tb", b".", b"a/./b"):
        with pytest.raises(BadModelId):
            ids.check(bad)


def test_the_memo_of_ids_is_bounded() -> None:
    ids = ModelIds(ModelIdSettings())
    for number in range(10_500):
        ids.check(b"%d" % number)
    assert len(ids._memo) <= 10_000


@pytest.mark.parametrize(
    ("body", "model"),
    [(b'{"m": "1"}', b"1"), (b'{"m": 7}', b"7"), (b'{"m": true}', None), (b"[1]", None), (b"{", None), (b"{}", None)],
)
def test_the_id_in_a_body(body: bytes, model: bytes | None) -> None:
    assert ModelIds(ModelIdSettings(json_field="m")).from_body(body) == model


def test_the_longest_prefix_wins_on_whole_segments() -> None:
    routes = Routes([Route(prefix, None) for prefix in ("/", "/a", "/a/b")])  # type: ignore[arg-type]
    assert [routes.match(path).prefix for path in ("/", "/a", "/a/", "/ab", "/a/b/c", "/a/bc")] == [  # type: ignore[union-attr]
        "/", "/a", "/a", "/", "/a/b", "/a",
    ]  # fmt: skip
    assert Routes([Route("/a", None)]).match("/b") is None  # type: ignore[arg-type]
    assert Route("/a", None).below("/a/b") == "/b"  # type: ignore[arg-type]
    assert Route("/", None).below("/b") == "/b"  # type: ignore[arg-type]


def test_a_length_is_added_where_the_body_is_at_hand() -> None:
    head = safe_head(200, [(b"A", b"1")], "GET", 5)
    assert head.headers == [(b"a", b"1"), (b"content-length", b"5")]
    assert safe_head(200, [], "GET").headers == []
    assert safe_head(200, [(b"content-length", b"7")], "HEAD", 0).headers == [(b"content-length", b"7")]
    assert safe_head(304, [(b"content-length", b"7"), (b"etag", b"x")], "GET").headers == [(b"etag", b"x")]


def test_names_are_remembered_only_up_to_a_bound() -> None:
    for number in range(5000):
        safe_head(200, [(b"x-%d" % number, b"1")], "GET")
    assert safe_head(200, [(b"X-Mux-New", b"1"), (b"X-New", b"1")], "GET").headers == [(b"x-new", b"1")]
    with pytest.raises(UserCodeError):
        safe_head(200, [(b"bad name", b"1")], "GET")


@pytest.mark.parametrize(
    ("code", "status"),
    [("model_not_found", 404), ("store_failed", 503), ("queue_full", 503), ("never_heard_of", 500)],
)
def test_errors_keep_their_code_over_the_wire(code: str, status: int) -> None:
    error = relayed_error(code, "text", 1.5)
    assert error.status == status
    assert error.code == (code if status != 500 else "internal_error")
    assert error.retry_after_s == 1.5


def test_a_histograms_last_bucket_is_everything_above() -> None:
    histogram = Histogram()
    for ms in (0.5, 1, 1.5, 10**9):
        histogram.observe(ms)
    assert histogram.counts[:2] == [2, 1]
    assert histogram.counts[len(BOUNDS_MS)] == 1


def test_a_missing_model_is_not_worth_asking_for_again_soon() -> None:
    assert error_of(Failure("model_not_found", "no such model", 1.0)).retry_after_s is None
    assert error_of(Failure("model_load_failed", "torn", 1.0)).retry_after_s == 1.0
