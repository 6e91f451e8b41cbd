"""``${VAR}`` and its forms."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.config.interpolate import interpolate
from tests.config.conftest import Load

ENV = {"A": "1", "EMPTY": "", "TRUE": "true", "B": "b c"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "1"),
        ("x${A}y${B}", "x1yb c"),
        ("${EMPTY}", ""),
        ("${A:-2}", "1"),
        ("${EMPTY:-2}", "2"),
        ("${NONE:-2}", "2"),
        ("${NONE:-}", ""),
        ("${NONE:-${EMPTY:-${A}}}", "1"),
        ("${NONE:-a:-b}", "a:-b"),
        ("${A:?must be set}", "1"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("^a$", "^a$"),
        ("$1", "$1"),
        ("a $ b", "a $ b"),
        ("{model_id}", "{model_id}"),
    ],
)
def test_what_is_replaced(text: str, expected: str) -> None:
    assert interpolate(text, ENV) == (expected, [])


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("${NONE}", "environment variable 'NONE' is not set", "set it, or write ${NONE:-default}"),
        ("${NONE:?}", "environment variable 'NONE' is not set", ""),
        ("${NONE:?run make env}", "environment variable 'NONE' is not set: run make env", ""),
        ("${EMPTY:?run make env}", "environment variable 'EMPTY' is empty: run make env", ""),
        ("${}", "'${}' is not an expression", "write ${VAR}, ${VAR:-default} or ${VAR:?message}"),
        ("${1A}", "'${1A}' is not an expression", "write ${VAR}, ${VAR:-default} or ${VAR:?message}"),
        ("${A-b}", "'${A-b}' is not an expression", "write ${VAR}, ${VAR:-default} or ${VAR:?message}"),
        ("${A", "'${A' has no closing brace", "write ${VAR}"),
        ("$HOME/x", "'$HOME' is not replaced", "write ${HOME}, or $$HOME for the text itself"),
    ],
)
def test_what_cannot_be_replaced(text: str, message: str, hint: str) -> None:
    _, faults = interpolate(text, ENV)
    assert [(fault.message, fault.hint) for fault in faults] == [(message, hint)]


@given(st.text())
def test_a_text_with_its_dollar_signs_doubled_comes_back(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), {}) == (text, [])


def test_plain_scalars_get_their_kind_after_it_and_quoted_ones_stay_text(load: Load) -> None:
    text = (
        "deployments:\n"
        "  - name: M\n"
        "    loader: app:load_model\n"
        "    num_replicas: ${A}\n"
        "    torch_threads: ${EMPTY}\n"
        "    max_model_bytes_per_replica: ${SIZE:-64MiB}\n"
        "    env: {OMP_NUM_THREADS: '${A}', RAW: 010, FLAG: true}\n"
        '    user_config: {a: "${A}", b: ["${B}"], price: 5$$}\n'
    )
    deployment = load(text, ENV).config.deployments[0]
    assert deployment.num_replicas == 1
    assert deployment.torch_threads is None
    assert deployment.max_model_bytes_per_replica == 64 * 2**20
    assert deployment.env == {"OMP_NUM_THREADS": "1", "RAW": "010", "FLAG": "true"}
    assert deployment.user_config == {"a": "1", "b": ["b c"], "price": "5$"}


def test_a_value_is_replaced_once_however_it_looks(load: Load) -> None:
    text = "deployments:\n  - {name: M, loader: 'app:load_model', user_config: {a: '${X}'}}\n"
    assert load(text, {"X": "${A} $$ x: [1"}).config.deployments[0].user_config == {"a": "${A} $$ x: [1"}
