"""Which project a command means."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from mux_cli.exits import UsageProblem
from mux_cli.projects import config_path, find_config, is_running, resolve
from runtime.errors import NoSuchThing, NotRunning
from tests.cli.conftest import MakeProject


def test_a_name_finds_its_project(make_project: MakeProject) -> None:
    shop, _ = make_project("shop"), make_project("other")
    assert resolve("shop") == shop


def test_a_config_path_finds_its_project(make_project: MakeProject) -> None:
    shop = make_project("shop")
    assert resolve(str(shop.config_path)) == shop


def test_a_folder_finds_the_project_of_its_config(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, _ = make_project("shop"), make_project("other")
    assert resolve(str(shop.config_path.parent)) == shop
    monkeypatch.chdir(shop.config_path.parent)
    assert resolve(".") == shop
    with pytest.raises(UsageProblem, match="a folder without a mux"):
        resolve("..")


def test_a_name_nobody_knows_lists_the_known(make_project: MakeProject) -> None:
    make_project("shop")
    with pytest.raises(NoSuchThing, match="shopp") as caught:
        resolve("shopp")
    assert caught.value.hint == "Known: shop."


def test_the_nearest_config_upward_counts(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, _ = make_project("shop"), make_project("other")
    below = shop.config_path.parent / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert resolve(None) == shop


def test_a_config_that_was_never_deployed_is_not_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mux.yaml").write_text("deployments: []\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotRunning, match="never deployed") as caught:
        resolve(None)
    assert "mux deploy" in caught.value.hint


def test_the_only_one_known_is_meant(make_project: MakeProject) -> None:
    shop = make_project("shop")
    assert resolve(None) == shop


def test_a_project_whose_config_has_gone_does_not_make_it_unclear(make_project: MakeProject) -> None:
    shop, gone = make_project("shop"), make_project("gone")
    gone.config_path.unlink()
    assert resolve(None) == shop


def test_several_are_listed(make_project: MakeProject) -> None:
    shop, other = make_project("shop"), make_project("other")
    with pytest.raises(UsageProblem, match="Which project") as caught:
        resolve(None)
    for project in (shop, other):
        assert str(project.config_path) in caught.value.message
    assert "down" in caught.value.message


def test_none_known_says_how_to_begin() -> None:
    with pytest.raises(NotRunning) as caught:
        resolve(None)
    assert "mux init" in caught.value.hint


def test_a_clash_of_names_names_both(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = make_project("shop", "one"), make_project("shop", "two")
    with pytest.raises(UsageProblem, match="2 projects are named 'shop'") as caught:
        resolve("shop")
    assert str(one.config_path) in caught.value.message
    assert str(two.config_path) in caught.value.message
    monkeypatch.chdir(two.config_path.parent)
    assert resolve("shop") == two


def test_a_renamed_project_is_its_latest_name(make_project: MakeProject) -> None:
    from os import utime

    from runtime.project import project_for

    old = make_project("shop")
    new = project_for("store", old.config_path)
    new.create()
    utime(old.record_file, (1, 1))
    assert resolve(str(old.config_path)) == new


def test_a_socket_without_a_listener_is_not_running(make_project: MakeProject) -> None:
    project = make_project("shop")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(project.control_socket))
    assert not is_running(project)


def test_the_config_given_counts_before_everything(tmp_path: Path) -> None:
    assert config_path(Path("some.yaml"), None) == Path.cwd() / "some.yaml"
    (tmp_path / "mux.yml").touch()
    assert config_path(tmp_path, None) == tmp_path / "mux.yml"


def test_a_folder_without_a_config_is_a_usage_problem(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match=r"without a mux\.yaml"):
        config_path(tmp_path, None)


def test_no_config_anywhere_is_a_usage_problem() -> None:
    with pytest.raises(UsageProblem, match=r"no mux\.yaml"):
        config_path(None, None)


def test_a_known_project_brings_its_config(make_project: MakeProject) -> None:
    shop = make_project("shop")
    assert config_path(None, "shop") == shop.config_path
    assert find_config(shop.config_path.parent / "missing") == shop.config_path
