"""What a deployment's source says, and which model ids it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BadModelId, ConfigError
from runtime.stores.source import LocalSource, S3Source, fill, parse_source

HERE = Path("/project")


def test_sources() -> None:
    local = parse_source("./models/{model_id}/model.pt", HERE)
    assert local == LocalSource("/project/models/{model_id}/model.pt", is_folder=False)
    assert local.path("a/1") == Path("/project/models/a/1/model.pt")
    assert parse_source("/m/{model_id}.pt", HERE) == LocalSource("/m/{model_id}.pt", is_folder=False)
    assert parse_source("../m/{model_id}/", HERE) == LocalSource("/project/../m/{model_id}", is_folder=True)
    assert parse_source("file:///a%20b/{model_id}", HERE) == LocalSource("/a b/{model_id}", is_folder=False)
    s3 = parse_source("s3://my_bucket/pre/{model_id}/model.pt", HERE)
    assert s3 == S3Source("my_bucket", "pre/{model_id}/model.pt", is_folder=False)
    assert s3.key("3") == "pre/3/model.pt"
    assert parse_source("S3://b/{model_id}/", HERE) == S3Source("b", "{model_id}/", is_folder=True)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("./models/model.pt", "no {model_id}"),
        ("s3://bucket/model.pt", "no {model_id}"),
        ("s3://bucket", "no {model_id}"),
        ("s3:///{model_id}", "names no bucket"),
        ("s3://{model_id}/model.pt", "names no bucket"),
        ("gs://bucket/{model_id}", "no store for gs://"),
        ("file://host/{model_id}", "names the host 'host'"),
        ("./{model_id}/{version}.pt", "only {model_id} is replaced"),
        ("./{model_id}/../x", "has '..' after"),
    ],
)
def test_bad_sources_say_why(source: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_source(source, HERE)
    assert says in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("model_id", ["", "..", ".", "../x", "a/../../x", "/etc", "a//b", "a/", "a\0b", "a\nb", "./a"])
def test_bad_ids_are_refused(model_id: str) -> None:
    with pytest.raises(BadModelId):
        fill("/models/{model_id}/model.pt", model_id)


def test_an_id_that_completes_two_dots_is_refused() -> None:
    with pytest.raises(BadModelId):
        fill("/models/x/{model_id}.", ".")
    with pytest.raises(BadModelId):
        fill("/models/{model_id}..", "a/")


@given(
    template=st.sampled_from(
        ["/models/{model_id}/m.pt", "/models/.{model_id}/m", "/models/m{model_id}.", "/{model_id}"]
    ),
    model_id=st.text(st.sampled_from("./a\\%~"), max_size=8),
)
def test_no_id_leaves_the_folder(template: str, model_id: str) -> None:
    try:
        filled = fill(template, model_id)
    except BadModelId:
        return
    root = "/models/" if template.startswith("/models") else "/"
    assert str(Path(filled).resolve()).startswith(root)
