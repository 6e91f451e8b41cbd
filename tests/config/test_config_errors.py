"""The error surface: one broken file a row, and exactly what is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.config.load import load_config
from runtime.config.problems import ConfigNotFound, ConfigProblems
from tests.config.conftest import Headlines, Load

# In each row `DEPLOYMENT` stands for one correct deployment on lines 1 to 3 and goes on as its block.
DEPLOYMENT = "deployments:\n  - name: M\n    loader: app:load_model\n"
TWO = DEPLOYMENT + "    route_prefix: /m\n  - name: N\n    loader: app:load_model\n"

IN_DEPLOYMENT = {
    "num_replica: 2": "5: unknown key 'num_replica' in deployments[0]; did you mean 'num_replicas'?",
    "num-replicas: 2": "5: unknown key 'num-replicas' in deployments[0]; did you mean 'num_replicas'?",
    "port: 80": "5: unknown key 'port' in deployments[0]; it belongs under 'http'",
    "runtime_env: {}": "5: unknown key 'runtime_env' in deployments[0]; write environment variables under 'env'",
    "zzzz: 1": "5: unknown key 'zzzz' in deployments[0]",
    "num_replicas: '2'": "19: num_replicas must be a whole number, not the text '2'; remove the quotes",
    "num_replicas: 1_000": "19: num_replicas must be a whole number, not the text '1_000'; write the digits "
    "without '_'",
    "num_replicas: two": "19: num_replicas must be a whole number, not the text 'two'",
    "num_replicas: 1.5": "19: num_replicas must be a whole number, not the number 1.5",
    "num_replicas: true": "19: num_replicas must be a whole number, not true",
    "num_replicas: 0": "19: num_replicas must be at least 1, not the number 0",
    "num_replicas: [2]": "19: num_replicas must be a whole number, not a list",
    "num_replicas:": "18: num_replicas must be a whole number, not empty (null)",
    "max_surge: 2": "16: max_surge must be at most 1, not the number 2",
    "max_queued_requests: -2": "26: max_queued_requests: -2 is not a queue length; write 0 or more, or -1 for no limit "
    "of its own",
    "max_num_models_per_replica: 0": "33: max_num_models_per_replica: 0 is not a number of models; write 1 or more, or "
    "-1 for unlimited",
    "max_num_models_per_replica: {a: 0}": "37: max_num_models_per_replica.a: 0 is not a number of models; write 1 or "
    "more, or -1 for unlimited",
    "max_num_models_per_replica: {a: 2}": "33: max_num_models_per_replica must be a number with loader: it has one "
    "cache",
    "max_model_bytes_per_replica: 8G": "34: max_model_bytes_per_replica: '8G' is ambiguous; write 8GiB (2^n) or 8GB "
    "(10^n)",
    "max_model_bytes_per_replica: 8 apples": "34: max_model_bytes_per_replica: '8 apples' has an unknown unit; write "
    "B, KiB, MiB, GiB, TiB or kB, MB, GB, TB",
    "load_timeout_s: soon": "21: load_timeout_s: 'soon' is not a duration; write seconds as a number, or 250ms, 30s, "
    "5m, 1h30m",
    "load_timeout_s: 0": "21: load_timeout_s must be more than 0, not the number 0",
    "load_timeout_s: .inf": "21: .inf is not a finite number",
    "load: erly": "11: load must be 'early' or 'on_call', not the text 'erly'; did you mean 'early'?",
    "application: ''": "18: application: '' is not a name; use 1 to 63 letters, digits, '_', '.' and '-', a letter or "
    "digit first",
    "source: ''": "13: source must not be empty; remove the key for its default",
    "route_prefix: /a{b}": "19: route_prefix: '/a{b}' is not a plain path prefix; use '/name' or '/name/name'",
    "eviction: lruu": "15: eviction must be 'lru', 'lfu' or 'gdsf', not the text 'lruu'; did you mean 'lru'?",
    "preload: '1'": "14: preload must be a list, not the text '1'",
    "preload: [../etc]": "15: the model id '../etc' contains '..'",
    "preload: [a b]": "15: the model id 'a b' does not match [A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*",
    "preload: [1, 1]": "18: the model id '1' is listed twice",
    "preload: [null]": "15: preload[0] must be text, not empty (null)",
    "pin: [1, 2, 3]": "10: a replica would pin 3 models and can hold 3: no other model could ever be loaded; pin "
    "fewer, or set max_num_models_per_replica to 4 or more",
    "preload: [1, 2, 3, 4]": "14: a replica would preload 4 models and can hold 3; preload fewer, or raise "
    "max_num_models_per_replica",
    "copies: 2": "13: copies is 2, but num_replicas is 1; remove it to have a copy on every replica",
    "env: {1X: a}": "11: '1X' is not the name of an environment variable",
    "env: [A=b]": "10: env must be a mapping, not a list",
    "route_prefix: m": "19: route_prefix: 'm' must start with '/'",
    "route_prefix: /m/": "19: route_prefix: '/m/' must not end with '/'; write '/m'",
    "route_prefix: /-/x": "19: route_prefix: '/-/x' is taken: mux itself answers under '/-/'",
    "import_path: app:entry": None,  # see below: both styles at once
    "handler: app.py:predict": "14: handler: 'app.py:predict' is not an import path of the form 'module:name'; write "
    "'app:predict'",
    "handler: app.predict": "14: handler: 'app.predict' is not an import path of the form 'module:name'; write "
    "'app:predict'",
    "handler: app:predikt": "14: handler 'app:predikt': app.py has no 'predikt'; did you mean 'predict'?",
    "handler: appp:predict": "14: handler 'appp:predict': there is no module 'appp'; did you mean 'app'?",
    "handler: json:loads": "",
    "source: ./m.pt": "13: source must hold {model_id}, or every id would get the same file; as in "
    "'./models/{model_id}/model.pt'",
    "source: ./{id}.pt": "13: source has the unknown placeholder {id}; the only one is {model_id}",
    "source: gs://b/{model_id}": "13: source has the unknown scheme 'gs://'; write a path or s3://bucket/key",
    "source: s3://{model_id}/m": "13: source must name its bucket; as in 's3://bucket/{model_id}/model.pt'",
    "source: s3:///{model_id}": "13: source must name its bucket; as in 's3://bucket/{model_id}/model.pt'",
    "source: './{model_id}}'": "13: source has a brace without its other half; the only placeholder is {model_id}",
    "source: './{model_id}/../x'": "13: source has '..' after {model_id}; write the path without it",
    "s3: {region: x}": "5: s3 is of use only with an s3:// source",
    "user_config: {1: a}": '19: the key 1 is not text; write "1"',
    "user_config: !!python/name:os.system": "18: the tag '!!python/name:os.system' is not allowed; write plain YAML",
    "user_config: !custom {a: 1}": "18: the tag '!custom' is not allowed; write plain YAML",
    "user_config: {a: !!int x}": "22: 'x' is not a !!int",
    "user_config: {a: !!timestamp 2024-01-01}": "22: the tag '!!timestamp' is not allowed; write plain YAML",
    "user_config: {a: &a [*a]}": "22: the value holds an alias of itself",
    "torch_threads: $CORES": "20: '$CORES' is not replaced; write ${CORES}, or $$CORES for the text itself",
    "torch_threads: ${CORES}": "20: environment variable 'CORES' is not set; set it, or write ${CORES:-default}",
    "torch_threads: ${CORES:?how many}": "20: environment variable 'CORES' is not set: how many",
    "torch_threads: ${CORES": "20: '${CORES' has no closing brace; write ${VAR}",
    "torch_threads: ${CORES:+1}": "20: '${CORES:+1}' is not an expression; write ${VAR}, ${VAR:-default} or "
    "${VAR:?message}",
    "torch_threads: ${CORES:-many}": "20: torch_threads must be a whole number, not the text 'many' (from "
    "${CORES:-many})",
}

WHOLE = {
    "": ["1:1: the file is empty; run `mux init` in an empty folder for a start"],
    "# nothing\n": ["1:1: the file is empty; run `mux init` in an empty folder for a start"],
    "hello": ["1:1: the file must hold keys, as 'deployments:'; run `mux schema` for the whole list"],
    "name: x": ["1:1: 'deployments' is missing"],
    "deployments: []": ["1:14: deployments must not be empty"],
    "deployments: {M: {}}": ["1:14: deployments must be a list, not a mapping"],
    "deployments: [M]": ["1:15: deployments[0] must be a mapping, not the text 'M'"],
    "deployments:\n  - loader: app:load_model": ["2:5: 'name' is missing in deployments[0]"],
    "deployments:\n  - name: M": [
        "2:11: 'M' has neither import_path nor loader; write 'loader: module:function' or 'import_path: module:name'"
    ],
    "deployments:\n  - {name: M, handler: 'app:predict'}": [
        "2:12: 'M' has neither import_path nor loader; write 'loader: module:function' or 'import_path: module:name'",
        "2:15: handler is of use only with loader",
    ],
    "deployments:\n  - {name: M, import_path: 'app:entry', source: '{model_id}'}": [
        "2:41: source is of use only with loader; a class does this itself"
    ],
    "deployments:\n\t- name: M": [
        "2:1: not YAML: found character that cannot start any token; YAML is indented with spaces, not tabs"
    ],
    "name: [a": ["1:7: not YAML: did not find expected ',' or ']'"],
    "http: {port: ${PORT}}": [
        "1:15: not YAML: did not find expected ',' or '}'; put a value with ${...} in double quotes: \"${VAR}\""
    ],
    "name: a: b": [
        "1:8: not YAML: mapping values are not allowed in this context; "
        "put text that holds ': ' in quotes, and keys of one level in one column"
    ],
    "name: 'a": ["1:7: not YAML: found unexpected end of stream; close the quote"],
    "name: *nowhere": ["1:7: not YAML: found undefined alias"],
    DEPLOYMENT + "---\n" + DEPLOYMENT: [
        "4:1: not YAML: but found another document; keep one document in the file: remove the '---' between them"
    ],
    DEPLOYMENT + "    name: N\n": ["4:5: key 'name' is set twice; first on line 2"],
    DEPLOYMENT + "<<: [1]\n": ["4:6: '<<' must name a mapping with keys; as in '<<: *defaults'"],
    DEPLOYMENT + "? [a]\n: b\n": ["4:3: a key must be text, not a list or a mapping"],
    DEPLOYMENT + "name: my shop\n": [
        "4:7: name: 'my shop' is not a name; use 1 to 63 letters, digits, '_', '.' and '-', a letter or digit first"
    ],
    DEPLOYMENT + "http: 8000\n": ["4:7: http must be a mapping, not the number 8000"],
    DEPLOYMENT + "http: {port: 80000}\n": ["4:14: http.port must be at most 65535, not the number 80000"],
    DEPLOYMENT + "http: {host: 0.0.0.0}\n": [
        "4:14: http.host '0.0.0.0' can be reached from other machines, and there is no admin token; write "
        "'admin_token: ${MUX_ADMIN_TOKEN}' under 'http' and `export MUX_ADMIN_TOKEN=$(openssl rand -hex 16)`, or "
        "listen on 127.0.0.1"
    ],
    DEPLOYMENT + "http: {host: gpu-7}\n": [
        "4:14: http.host 'gpu-7' can be reached from other machines, and there is no admin token; write "
        "'admin_token: ${MUX_ADMIN_TOKEN}' under 'http' and `export MUX_ADMIN_TOKEN=$(openssl rand -hex 16)`, or "
        "listen on 127.0.0.1"
    ],
    DEPLOYMENT + "http: {admin_token: short}\n": [
        "4:21: http.admin_token must have at least 16 characters; make one with `openssl rand -hex 16`"
    ],
    DEPLOYMENT + "http: {admin_token: 1234}\n": ["4:21: http.admin_token must be text; put it in quotes"],
    DEPLOYMENT + "model_id: {pattern: '['}\n": [
        "4:21: model_id.pattern: '[' is not a regular expression: unterminated character set at position 0"
    ],
    DEPLOYMENT + "model_id: {header: 'a b'}\n": [
        "4:20: model_id.header: 'a b' is not a header name; use letters, digits, '_' and '-'"
    ],
    DEPLOYMENT + "model_id: {query: yes, path: 1}\n": [
        "4:30: model_id.path must be text, not the number 1; put it in quotes"
    ],
    "name: a\x07": ["1:8: not YAML: control characters are not allowed"],
    "x-a: &a 1\nx-b: &a 2": ["2:6: not YAML: duplicate anchor"],
    "deployments:\n  - {name: M, import_path: 'app:entry', max_num_models_per_replica: {a: 2, b: 2}, pin: [1]}": [
        "2:88: pin needs exactly one loader, but there are 2"
    ],
    DEPLOYMENT + "model_id: {path: /x}\n": [
        "4:18: model_id.path: '/x' must start with '/' and hold {model_id} once, as '/models/{model_id}'"
    ],
    DEPLOYMENT + "model_id: {heder: x}\n": ["4:12: unknown key 'heder' in model_id; did you mean 'header'?"],
    DEPLOYMENT + "s3: {access_key_id: x}\n": ["4:5: s3: access_key_id and secret_access_key go together"],
    DEPLOYMENT + "cache: {size: 1}\n": ["4:9: unknown key 'size' in cache; known here: max_bytes, dir"],
    DEPLOYMENT + "applications: []\n": ["4:1: unknown key 'applications'; list what runs under 'deployments'"],
    DEPLOYMENT + "    source: {model_id}/model.pt\n": [
        "4:23: not YAML: did not find expected key; put a value that begins with {model_id} in double quotes: "
        '"{model_id}/..."'
    ],
    DEPLOYMENT + "    source: 's3:/b/{model_id}'\n": [
        "4:13: source 's3:/b/{model_id}' is no path; did you mean 's3://b/{model_id}'?"
    ],
    DEPLOYMENT + "http_options: {}\n": ["4:1: unknown key 'http_options'; write its keys under 'http'"],
    DEPLOYMENT + "num_replicas: 2\n": ["4:1: unknown key 'num_replicas'; it belongs in an entry of 'deployments'"],
    TWO: [],
    TWO.replace("name: N", "name: M"): ["5:11: two deployments are called 'M'; the first is on line 2"],
    TWO + "    route_prefix: /m\n": ["7:19: 'N' has the route '/m', as 'M' has; choose another"],
    TWO.replace("    route_prefix: /m\n", ""): [
        "4:11: 'N' has the route '/', as 'M' has; set its route_prefix, to null if only handles reach it"
    ],
}


@pytest.mark.parametrize(("line", "expected"), [(k, v) for k, v in IN_DEPLOYMENT.items() if v])
def test_a_line_in_a_deployment(headlines: Headlines, line: str, expected: str) -> None:
    assert headlines(f"{DEPLOYMENT}    {line}\n") == [f"mux.yaml:4:{expected}"]


@pytest.mark.parametrize("text", [text for text, expected in WHOLE.items() if expected])
def test_a_whole_file(headlines: Headlines, text: str) -> None:
    assert headlines(text) == [f"mux.yaml:{line}" for line in WHOLE[text]]


@pytest.mark.parametrize("text", [TWO, f"{DEPLOYMENT}    handler: json:loads\n", f"{DEPLOYMENT}    handler: a.b:c\n"])
def test_what_is_right(load: Load, folder: Path, text: str) -> None:
    (folder / "a").mkdir()
    (folder / "a" / "b.py").write_text("from somewhere import *\n")
    assert load(text).config.name == "shop"


def test_both_styles_at_once(headlines: Headlines) -> None:
    assert headlines(f"{DEPLOYMENT}    import_path: app:entry\n") == [
        "mux.yaml:3:5: 'M' has both import_path and loader; keep import_path for a class, loader for a function"
    ]


def test_all_problems_come_at_once_in_the_order_of_the_file(load: Load) -> None:
    text = (
        "http: {prot: 80}\n"
        "deployments:\n"
        "  - name: M\n"
        "    loader: ap:load_model\n"
        "    num_replica: 2\n"
        "\n"
        "  - name: M\n"
        "    loader: app:load_modle\n"
        "    user_config: {a: ${UNSET}, b: 1}\n".replace("${UNSET}", '"${UNSET}"')
    )
    with pytest.raises(ConfigProblems) as caught:
        load(text)
    assert caught.value.message == (
        "mux.yaml:1:8: unknown key 'prot' in http; did you mean 'port'?\n"
        "    1 | http: {prot: 80}\n"
        "      |        ^^^^\n"
        "mux.yaml:4:13: loader 'ap:load_model': there is no module 'ap'; did you mean 'app'?\n"
        "    4 |     loader: ap:load_model\n"
        "      |             ^^^^^^^^^^^^^\n"
        "mux.yaml:5:5: unknown key 'num_replica' in deployments[0]; did you mean 'num_replicas'?\n"
        "    5 |     num_replica: 2\n"
        "      |     ^^^^^^^^^^^\n"
        "mux.yaml:7:11: two deployments are called 'M'; the first is on line 3\n"
        "    7 |   - name: M\n"
        "      |           ^\n"
        "mux.yaml:8:13: loader 'app:load_modle': app.py has no 'load_modle'; did you mean 'load_model'?\n"
        "    8 |     loader: app:load_modle\n"
        "      |             ^^^^^^^^^^^^^^\n"
        "mux.yaml:9:23: environment variable 'UNSET' is not set; set it, or write ${UNSET:-default}\n"
        '    9 |     user_config: {a: "${UNSET}", b: 1}\n'
        "      |                       ^^^^^^^^\n"
        "6 problems in mux.yaml"
    )


def test_secrets_on_a_shown_line_are_masked_whatever_else_is_wrong_with_it(load: Load) -> None:
    with pytest.raises(ConfigProblems) as caught:
        load(DEPLOYMENT + "    env: {1A: $X, TOKEN: hunter2}\nhttp: {admin_token: hunter2, prot: '${MUX}'}\n")
    assert "hunter2" not in caught.value.message
    assert "env: {1A: **, TOKEN: *******}" in caught.value.message


def test_a_secret_that_is_wrong_is_not_shown_although_it_came_from_the_environment(headlines: Headlines) -> None:
    assert headlines(DEPLOYMENT + "http: {admin_token: '${T}'}\n", {"T": "hunter2"}) == [
        "mux.yaml:4:21: http.admin_token must have at least 16 characters; make one with `openssl rand -hex 16`"
    ]


def test_the_caret_stands_under_its_place_after_a_tab_and_wide_letters(load: Load) -> None:
    with pytest.raises(ConfigProblems) as caught:
        load(DEPLOYMENT + 'http: {"größe":\t1}\n')
    problem = caught.value.problems[0]
    assert problem.headline.startswith("mux.yaml:4:8: unknown key 'größe' in http")
    assert str(problem).splitlines()[2] == "      |        ^^^^^^^"


def test_aliases_that_grow_without_end_are_refused(headlines: Headlines) -> None:
    expected = ["mux.yaml:1:1: the file's aliases stand for more than 100,000 values or 100 levels"]
    rows = ["x-a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for name, inner in zip("bcdefg", "abcdef", strict=True):
        rows.append(f"x-{name}: &{name} [{', '.join([f'*{inner}'] * 10)}]")
    text = "\n".join(rows) + f"\n{DEPLOYMENT}    user_config: {{a: *g}}\n"
    assert headlines(text) == expected
    rows = ["x-0: &a0 1"] + [f"x-{n}: &a{n} {'[' * 60}*a{n - 1}{']' * 60}" for n in range(1, 60)]
    assert headlines("\n".join(rows) + f"\n{DEPLOYMENT}    user_config: {{a: *a59}}\n") == expected


@pytest.mark.parametrize("text", ["[" * 20_000 + "]" * 20_000, "{a: " * 20_000 + "}" * 20_000, "\n" + "- " * 20_000])
def test_what_is_nested_without_end_is_refused(headlines: Headlines, text: str) -> None:
    assert headlines(f"deployments: {text}\n") == ["mux.yaml:1:1: the file is nested more than 100 levels deep"]


def test_a_syntax_error_in_the_code_is_told_with_its_place(headlines: Headlines, folder: Path) -> None:
    (folder / "app.py").write_text("def load_model(:\n")
    assert headlines(DEPLOYMENT) == ["mux.yaml:3:13: loader 'app:load_model': app.py:1:16: invalid syntax"]


def test_bytes_that_are_not_utf_8(folder: Path) -> None:
    (folder / "mux.yaml").write_bytes(b"name: x\nhttp: \xff\n")
    with pytest.raises(ConfigProblems) as caught:
        load_config("mux.yaml", {})
    assert caught.value.problems[0].headline == "mux.yaml:2:7: the byte 0xff is not UTF-8; save the file as UTF-8"


def test_a_file_is_named_from_the_working_folder(folder: Path) -> None:
    (folder / "mux.yaml").write_text("name: x\n")
    with pytest.raises(ConfigProblems, match=r"^mux\.yaml:1:1: 'deployments' is missing"):
        load_config(folder / "mux.yaml", {})


def test_a_missing_file_names_what_may_have_been_meant(folder: Path) -> None:
    with pytest.raises(ConfigNotFound, match=r"there is no file 'mux.yaml'") as caught:
        load_config("mux.yaml", {})
    assert caught.value.hint == "run `mux init` in an empty folder for a start"
    (folder / "config.yaml").touch()
    with pytest.raises(ConfigNotFound) as caught:
        load_config("mux.yaml", {})
    assert caught.value.hint == "did you mean 'config.yaml'?"
    with pytest.raises(ConfigNotFound, match="is a folder"):
        load_config(folder, {})
    with pytest.raises(ConfigNotFound) as caught:
        load_config("nowhere/mux.yaml", {})
    assert caught.value.hint == "there is no folder 'nowhere' either"
