"""Shapes of the control API become text without a process, a clock or a terminal."""

from __future__ import annotations

import io

import msgspec
from rich.console import Console, RenderableType

from mux_cli.checks import Check
from mux_cli.views import changes_text, checks_text, models_table, status_view, top_view
from tests.cli.shapes import model_infos, project_status


def text(view: RenderableType, *, colour: bool = False, width: int = 160) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, markup=False, highlight=False, force_terminal=colour)
    console.print(view)
    return stream.getvalue()


def rows(view: RenderableType) -> list[list[str]]:
    return [line.split() for line in text(view).splitlines()]


def test_status_shows_deployments_replicas_and_routers() -> None:
    lines = text(status_view(project_status())).splitlines()
    assert lines[0] == "shop  ready  http://127.0.0.1:8000  generation 3  up 3m12s  /home/me/shop/mux.yaml"
    words = [line.split() for line in lines]
    assert ["Model", "ready", "2/2", "/", "4", "scaled", "by", "hand"] in words
    held = ["2/3:", "1,", "[red]2[/red]"]
    assert ["Model#EjYmnQ", "ready", "101", "3m12s", "81", "MiB", "2", "0", *held] in words
    assert ["Model#aB12Cd", "backoff", "-", "0.0s", "-", "0", "7", "-"] in words
    assert ["router-0", "ready", "102", "0.0s", "-", "1234"] in words


def test_many_models_are_cut_short() -> None:
    status = project_status()
    status.replicas[0].models = [str(number) for number in range(20)]
    assert "20/3: 0, 1, 2, 3, 4, 5 and 14 more" in text(status_view(status))


def test_a_long_model_id_is_cut_before_any_other_column() -> None:
    models = [msgspec.structs.replace(one, model=one.model * 65, idle_s=1.0) for one in model_infos()]
    head, *lines = text(models_table(models), width=80).splitlines()
    assert head.split() == ["MODEL", "REPLICA", "STATE", "LEASES", "WAITING", "USES", "LOAD", "SIZE", "IDLE"]
    assert [line.partition("…")[2].split()[0] for line in lines if "…" in line] == ["Model#EjYmnQ"] * 2 + ["Model"]


def test_long_model_ids_of_a_replica_take_a_line_or_two() -> None:
    status = project_status()
    status.replicas[0].models = [f"{number}{'x' * 64}" for number in range(5)]
    assert "5/3: 0xxxxxxxxxxx…xxxxxxx and 4 more" in text(status_view(status))


def test_what_could_not_start_shows_its_traceback_last() -> None:
    status = project_status()
    status.deployments[0] = msgspec.structs.replace(status.deployments[0], traceback="Traceback\nKeyError: [1]\n")
    assert text(status_view(status)).endswith("Model could not start:\nTraceback\nKeyError: [1]\n")


def test_colours_only_where_they_are_wanted() -> None:
    assert "\x1b[" not in text(status_view(project_status()))
    assert "\x1b[32mready" in text(status_view(project_status()), colour=True)


def test_models_are_rows_and_waiting_ones_have_no_replica() -> None:
    lines = rows(models_table(model_infos()))
    assert " ".join(lines[1]) == "1 Model#EjYmnQ resident 0 0 12 0.8s - 1m01s pinned"
    assert " ".join(lines[2]) == "2 Model#EjYmnQ resident 2 0 0 - 4 KiB -"
    assert " ".join(lines[3]) == "9 Model waiting 0 5 0 - - - it is large"


def test_no_models_is_a_sentence() -> None:
    assert text(models_table([])) == "No model is in memory, and none is waited for.\n"


def test_top_shows_the_busiest_first_and_says_what_it_leaves_out() -> None:
    page = text(top_view(project_status(), model_infos(), 812.4, 2))
    assert "requests 812/s  in flight 2  queued 4  models 3" in page
    assert page.index("9 ") < page.index("2      Model#")
    assert "and 1 more" in page


def test_a_rate_that_is_not_known_yet_is_a_dash() -> None:
    assert "requests -  " in text(top_view(project_status(), [], None, 5))


def test_a_plan_is_one_line_a_change() -> None:
    changes = [{"sign": "~", "what": "Model", "why": "max_ongoing_requests 5 → 8"}, {"sign": "-", "what": "Old"}]
    assert changes_text(changes) == "~ Model: max_ongoing_requests 5 → 8\n- Old"


def test_findings_have_their_hint_below() -> None:
    checks = [
        Check(name="python", verdict="ok", finding="3.11"),
        Check(name="port", verdict="fail", finding="taken", hint="Choose another."),
    ]
    assert checks_text(checks, colour=False) == "ok    python: 3.11\nFAIL  port: taken\n      Choose another."
    assert "\x1b[31mFAIL\x1b[0m" in checks_text(checks, colour=True)


def test_everything_fits_into_eighty_columns() -> None:
    for view in (status_view(project_status()), models_table(model_infos())):
        assert "…" not in text(view, width=80)


def test_columns_without_anything_to_say_are_left_out() -> None:
    page = text(status_view(project_status(replicas=project_status().replicas[:1])))
    assert "RESTARTS" not in page
    assert "IN FLIGHT" in page


def test_a_project_of_nothing_is_a_line() -> None:
    status = project_status(deployments=[], replicas=[], routers=[])
    assert len(text(status_view(status)).splitlines()) == 1
    assert "No model is in memory" in text(top_view(status, [], None, 5))
