"""Loaders and handlers that raise, hang, block or are asked for what is not there: what clients and logs say."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.e2e.deployed import lines, until
from tests.e2e.load import asking
from tests.e2e.rough import Rough, rough

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def app() -> Iterator[Rough]:
    with rough() as running:
        yield running


def record(log: str, message: str) -> str:
    """Return the log record, of one line or more, that holds ``message``; empty if there is none."""
    records = re.split(r"^(?=(?:INFO|WARNING|ERROR) \d{4}-)", log, flags=re.M)
    return next((each for each in records if message in each), "")


def test_a_loader_that_raises_is_a_503_with_its_words_and_its_traceback_in_the_log(app: Rough) -> None:
    answer = app.ask(model="broken-1")
    assert answer.status == 503
    assert answer.body["error"] == "model_load_failed"
    assert answer.body["message"] == "ValueError: the weights of broken-1 are torn"
    assert int(answer.headers["retry-after"]) >= 1
    assert app.ask(model="broken-1").status == 503, "remembered"
    assert lines(app.marks).count("load broken-1") == 1
    told = record(app.cli.logs("--model", "broken-1"), "Loading model 'broken-1' failed:\n")
    assert told.startswith("ERROR ")
    assert answer.headers["x-request-id"] in told
    assert 'raise ValueError(f"the weights of {model_id} are torn")' in told
    assert "runtime/" not in told


def test_a_model_that_does_not_exist_is_a_404_and_one_line_of_log(app: Rough) -> None:
    answer = app.ask(model="none-1")
    assert answer.status == 404
    assert answer.body["error"] == "model_not_found"
    told = record(app.cli.logs("--model", "none-1"), "Loading model 'none-1' failed: LookupError: no model none-1")
    assert told.startswith("WARNING ")
    assert told.count("\n") == 1
    done = app.cli.run("request", "--model-id", "none-2", code=9)
    assert "404 Not Found: LookupError: no model none-2 (model_not_found)" in done.stderr


def test_a_loader_that_hangs_is_a_503_after_its_timeout_and_holds_up_nobody_else(app: Rough) -> None:
    with asking(app.url, "/", "held-1") as held:
        app.seen("load held-1")
        assert app.ask(model="a").status == 200
        answer = held.result()
    assert (answer.status, answer.body["error"]) == (503, "load_timeout")
    assert answer.body["message"] == "model 'held-1' was not loaded in time"
    assert "retry-after" in answer.headers
    app.release("held-1")


def test_a_handler_that_raises_is_a_500_and_its_traceback_is_in_the_log_only(app: Rough) -> None:
    answer = app.ask("/fail", "a")
    assert answer.status == 500
    assert answer.body["error"] == "user_code_failed"
    assert answer.body["message"] == "RuntimeError: the handler fell over"
    request_id = answer.headers["x-request-id"]
    until(lambda: "__CALL__ ERROR" in app.cli.logs("--grep", request_id), "the end of the request in the log")
    told = record(app.cli.logs(), "RuntimeError: the handler fell over")
    assert told.startswith("ERROR ")
    assert request_id in told
    assert 'raise RuntimeError("the handler fell over")' in told
    assert app.ask(model="a").status == 200
    done = app.cli.run("request", "/fail", "--model-id", "a", code=9)
    assert "500 Internal Server Error: RuntimeError: the handler fell over (user_code_failed)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_handler_that_blocks_the_loop_is_shown_in_the_log_with_its_stack(app: Rough) -> None:
    with asking(app.url, "/block?name=loop", "a") as blocked:
        app.seen("begin loop")
        until(lambda: "has blocked the event loop" in app.cli.logs("--level", "warning"), "the warning")
        assert app.ask().status == 200, "the other replica goes on"
        app.release("loop")
        assert blocked.result()[:2] == (200, "blocked")
    told = record(app.cli.logs(), "has blocked the event loop")
    assert re.search(r"default_Rough#\w{6} .* app\.py:\d+ - User code has blocked the event loop for 1\.\d s", told)
    stack = told.split("\n", 1)[1]
    assert re.match(r'\s+File "\S+/app\.py", line \d+, in predict\n', stack), "it begins with the user's code"
    assert "hold_thread(request.query_params" in stack


def test_what_user_code_prints_is_logged_with_its_request(app: Rough) -> None:
    answer = app.ask("/say?word=cuckoo", "a")
    told = record(app.cli.logs("--model", "a"), "cuckoo")
    assert re.search(rf"^INFO .* {answer.headers['x-request-id']} / default app\.py:\d+ - cuckoo", told)


@pytest.mark.parametrize("model", ["../x", "a b", "a//b", "x" * 201, "ä"])
def test_an_id_that_could_be_no_model_is_a_400(app: Rough, model: str) -> None:
    answer = app.ask(model=model.encode().decode("latin-1"))
    assert (answer.status, answer.body["error"]) == (400, "bad_model_id")


def test_a_class_that_cannot_be_imported_fails_the_deploy_with_its_own_traceback(app: Rough) -> None:
    app.edit("CHUNK = ", "import nothing_like_it\nCHUNK = ", "app.py")
    done = app.cli.run("deploy", code=3)
    app.edit("import nothing_like_it\n", "", "app.py")
    assert "ModuleNotFoundError: No module named 'nothing_like_it'" in done.stderr
    assert 'app.py", line' in done.stderr
    assert "runtime/" not in done.stderr
    assert "Generation 1 goes on serving." in done.stderr
