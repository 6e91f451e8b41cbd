"""``mux request`` against a real HTTP server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.fakes import Reply, WebServer

HIT = {"x-mux-replica": "Model#EjYmnQ", "x-mux-cache": "hit", "x-mux-queue-ms": "0.1", "x-request-id": "CUpzhwUUNw"}


def test_the_body_goes_to_stdout_and_the_talk_to_stderr(mux: Run, web: WebServer) -> None:
    web.reply = Reply(body=b'{"y": 1}', headers=HIT)
    result = mux("request", "--url", web.url, "--model-id", "3")
    assert result.exit_code == 0
    assert result.stdout == '{"y": 1}'
    assert result.stderr.startswith("served by Model#EjYmnQ · hit · ")
    assert result.stderr.endswith(" ms\n")
    [received] = web.received
    assert (received.method, received.target) == ("GET", "/")
    assert received.headers["serve_multiplexed_model_id"] == "3"


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"x-mux-cache": "load", "x-mux-load-ms": "812.4"}, "loaded in 812 ms"),
        ({"x-mux-cache": "wait", "x-mux-load-ms": "300"}, "waited 300 ms for its load"),
        ({"x-mux-cache": "hit", "x-mux-queue-ms": "42.25"}, "hit · queued 42.2 ms"),
    ],
)
def test_how_it_was_served_is_told(mux: Run, web: WebServer, headers: dict[str, str], words: str) -> None:
    web.reply = Reply(headers=HIT | headers)
    assert words in mux("request", "--url", web.url).stderr


def test_inline_json_is_posted(mux: Run, web: WebServer) -> None:
    assert mux("request", "predict?v=1", "--url", web.url, "-d", '{"inputs": [[1]]}').exit_code == 0
    [received] = web.received
    assert (received.method, received.target) == ("POST", "/predict?v=1")
    assert received.body == b'{"inputs": [[1]]}'
    assert received.headers["content-type"] == "application/json"


def test_inline_text_that_is_no_json_is_refused_before_it_is_sent(mux: Run, web: WebServer) -> None:
    result = mux("request", "--url", web.url, "-d", "{inputs: 1}")
    assert result.exit_code == 2
    assert "not JSON" in result.stderr
    assert not web.received


def test_other_text_is_sent_if_its_type_is_named(mux: Run, web: WebServer) -> None:
    assert mux("request", "--url", web.url, "-d", "hello", "-H", "Content-Type: text/plain").exit_code == 0
    assert web.received[0].headers["content-type"] == "text/plain"


def test_a_file_is_streamed_with_its_length(mux: Run, web: WebServer, tmp_path: Path) -> None:
    path = tmp_path / "input.json"
    path.write_bytes(b"[" + b"1," * 100_000 + b"1]")
    assert mux("request", "--url", web.url, "-d", f"@{path}", "-n", "2").exit_code == 0
    assert [len(received.body) for received in web.received] == [200_003, 200_003]
    assert web.received[0].headers["content-type"] == "application/json"


def test_stdin_is_a_body_too(mux: Run, web: WebServer) -> None:
    assert mux("request", "--url", web.url, "-d", "@-", input=b"[1, 2]").exit_code == 0
    assert web.received[0].body == b"[1, 2]"


def test_a_missing_file_is_a_usage_problem(mux: Run, web: WebServer) -> None:
    result = mux("request", "--url", web.url, "-d", "@nothing.json")
    assert (result.exit_code, "nothing.json" in result.stderr) == (2, True)


def test_method_and_headers_are_as_typed(mux: Run, web: WebServer) -> None:
    mux("request", "--url", web.url, "-X", "delete", "-H", "x-a: 1", "-H", "serve-multiplexed-model-id: 7")
    [received] = web.received
    assert received.method == "DELETE"
    assert received.headers["x-a"] == "1"
    assert received.headers["serve-multiplexed-model-id"] == "7"


@pytest.mark.parametrize("header", ["nonsense", ": value", "x-a: a\r\nx-b: b", "x-a: \N{SNOWMAN}"])
def test_a_header_that_cannot_be_is_a_usage_problem(mux: Run, web: WebServer, header: str) -> None:
    assert mux("request", "--url", web.url, "-H", header).exit_code == 2
    assert not web.received


def test_include_shows_the_head(mux: Run, web: WebServer) -> None:
    web.reply = Reply(body=b"hi", headers=HIT)
    lines = mux("request", "--url", web.url, "-i").stdout.splitlines()
    assert lines[0] == "HTTP/1.1 200 OK"
    assert "x-mux-replica: Model#EjYmnQ" in lines
    assert lines[-2:] == ["", "hi"]


def test_a_stream_comes_whole(mux: Run, web: WebServer) -> None:
    web.reply = Reply(chunks=[b"one ", b"two ", b"three"])
    assert mux("request", "--url", web.url).stdout == "one two three"


def test_an_error_of_ours_is_told_in_words(mux: Run, web: WebServer) -> None:
    payload = {"error": "queue_full", "message": "the queue of Model is full", "request_id": "abc", "hint": "wait"}
    web.reply = Reply(503, {"retry-after": "2"}, json.dumps(payload).encode())
    result = mux("request", "--url", web.url)
    assert result.exit_code == 9
    assert result.stdout == ""
    assert "503 Service Unavailable: the queue of Model is full (queue_full)" in result.stderr
    assert "hint: wait Try again in 2 s." in result.stderr


def test_a_failure_in_user_code_points_at_its_logs(mux: Run, web: WebServer) -> None:
    payload = {"error": "user_code_failed", "message": "KeyError: 'x'", "request_id": "abc"}
    web.reply = Reply(500, {}, json.dumps(payload).encode())
    assert "mux logs --grep abc" in mux("request", "--url", web.url).stderr


def test_an_error_of_user_code_shows_its_body(mux: Run, web: WebServer) -> None:
    web.reply = Reply(422, {}, b'{"detail": "no"}')
    result = mux("request", "--url", web.url)
    assert result.exit_code == 9
    assert result.stdout == '{"detail": "no"}'
    assert "error: The answer was 422" in result.stderr


def test_nothing_listening_is_said(mux: Run) -> None:
    with WebServer() as gone:
        url = gone.url
    result = mux("request", "--url", url)
    assert result.exit_code == 9
    assert f"Nothing listens at {url}" in result.stderr


def test_an_answer_that_breaks_off_is_a_failure(mux: Run, web: WebServer) -> None:
    web.reply = Reply(body=b"half", cut=True)
    result = mux("request", "--url", web.url)
    assert result.exit_code == 9
    assert "broke off" in result.stderr


def test_what_is_no_url_is_a_usage_problem(mux: Run) -> None:
    assert mux("request", "--url", "ftp://x").exit_code == 2


def test_the_timeout_is_told_to_the_server(mux: Run, web: WebServer) -> None:
    mux("request", "--url", web.url, "--timeout", "2.5")
    assert web.received[0].headers["x-request-timeout-seconds"] == "2.5"


def test_json_holds_all_there_is_to_know(mux: Run, web: WebServer) -> None:
    web.reply = Reply(body=b'{"y": 1}', headers=HIT | {"x-mux-cache": "load", "x-mux-load-ms": "812"})
    answer = json.loads(mux("request", "--url", web.url, "--json").stdout)
    assert answer["body"] == {"y": 1}
    assert (answer["status"], answer["replica"], answer["cache"]) == (200, "Model#EjYmnQ", "load")
    assert (answer["load_ms"], answer["queue_ms"], answer["request_id"]) == (812, 0.1, "CUpzhwUUNw")


def test_json_of_a_failure_exits_with_nine_too(mux: Run, web: WebServer) -> None:
    web.reply = Reply(500, {}, b"\xff\xfe")
    result = mux("request", "--url", web.url, "--json")
    assert result.exit_code == 9
    assert json.loads(result.stdout)["body"] is None
    assert json.loads(result.stdout)["body_bytes"] == 2


def test_many_requests_are_summed_up(mux: Run, web: WebServer) -> None:
    replies = iter([Reply(headers=HIT | {"x-mux-cache": "load"}), Reply(headers=HIT), Reply(headers=HIT)])
    web.answer = lambda _: next(replies)
    result = mux("request", "--url", web.url, "-n", "3", "--json")
    sums = json.loads(result.stdout)
    assert (sums["requests"], sums["hits"], sums["loads"], sums["failed"]) == (3, 2, 1, 0)
    assert sums["replicas"] == {"Model#EjYmnQ": 3}
    assert sums["p50_ms"] <= sums["p99_ms"] <= sums["max_ms"]


def test_a_failure_among_many_exits_with_nine(mux: Run, web: WebServer) -> None:
    replies = iter([Reply(), Reply(503)])
    web.answer = lambda _: next(replies)
    result = mux("request", "--url", web.url, "-n", "2")
    assert result.exit_code == 9
    assert "2 requests · 1 failed" in result.stdout
    assert "503 x 1" in result.stdout
