"""``@serve.deployment``, ``.options()``, ``.bind()`` and the graph that results."""

from __future__ import annotations

import json
from collections import namedtuple
from typing import Any

import pytest

from runtime import serve
from runtime.config.models import Deployment as ConfigDeployment
from runtime.serve.handle import DeploymentHandle
from runtime.serve.options import IN_YAML, REFUSED, DeploymentOptions


@serve.deployment
class Model:
    """A model."""

    def __init__(self, size: int = 1) -> None:
        self.size = size

    def reconfigure(self, user_config: Any) -> None: ...


@serve.deployment(name="Front", num_replicas=2)
class Ingress:
    def __init__(self, *parts: Any, **named: Any) -> None: ...


class TestOptions:
    def test_the_defaults_are_ray_serves(self) -> None:
        options = Model.settings
        assert (options.name, options.num_replicas, options.max_ongoing_requests) == ("Model", 1, 5)
        assert (options.max_queued_requests, options.user_config) == (-1, None)
        assert (options.health_check_period_s, options.health_check_timeout_s) == (10, 30)
        assert options.graceful_shutdown_timeout_s == 20
        assert options.explicit() == {}

    def test_all_of_them_can_be_given(self) -> None:
        given = {
            "num_replicas": 2, "max_ongoing_requests": 7, "max_queued_requests": 0, "user_config": {"a": 1},
            "health_check_period_s": 1, "health_check_timeout_s": 2.5, "graceful_shutdown_timeout_s": 0,
        }  # fmt: skip
        deployment = serve.deployment(**given)(Model.func_or_class)
        assert deployment.settings.explicit() == given
        assert (deployment.num_replicas, deployment.max_ongoing_requests) == (2, 7)
        assert (deployment.max_queued_requests, deployment.user_config) == (0, {"a": 1})

    def test_options_return_a_changed_copy(self) -> None:
        changed = Model.options(num_replicas=3, name="Other")
        assert (changed.name, changed.num_replicas) == ("Other", 3)
        assert (Model.name, Model.num_replicas) == ("Model", 1)
        assert changed.func_or_class is Model.func_or_class
        assert changed.settings.explicit() == {"num_replicas": 3}
        assert changed != Model
        assert Model.options() == Model
        assert hash(Model.options()) == hash(Model)

    @pytest.mark.parametrize("name", sorted(REFUSED))
    def test_an_option_without_a_meaning_here_is_refused_by_name_with_a_reason(self, name: str) -> None:
        with pytest.raises(TypeError, match=name) as caught:
            serve.deployment(**{name: 1})(Model.func_or_class)
        assert REFUSED[name] in str(caught.value)
        with pytest.raises(TypeError, match=name):
            Model.options(**{name: None})

    def test_an_unknown_option_is_a_type_error_with_a_suggestion(self) -> None:
        with pytest.raises(TypeError, match="did you mean 'num_replicas'"):
            Model.options(num_replica=2)
        with pytest.raises(TypeError, match="the options are"):
            Model.options(zzz=2)

    @pytest.mark.parametrize("name", sorted(IN_YAML))
    def test_a_key_of_the_yaml_is_named_as_such_and_exists(self, name: str) -> None:
        with pytest.raises(TypeError, match="YAML"):
            Model.options(**{name: 1})
        assert name in ConfigDeployment.model_fields

    def test_every_option_is_a_key_of_the_yaml(self) -> None:
        assert set(DeploymentOptions.__dataclass_fields__) - {"given"} <= set(ConfigDeployment.model_fields)

    @pytest.mark.parametrize(
        ("name", "value", "error"),
        [
            ("num_replicas", 0, ValueError), ("num_replicas", "2", TypeError), ("num_replicas", "auto", ValueError),
            ("num_replicas", True, TypeError), ("max_ongoing_requests", 0, ValueError),
            ("max_ongoing_requests", 1.5, TypeError), ("max_queued_requests", -2, ValueError),
            ("health_check_period_s", 0, ValueError), ("health_check_timeout_s", -1, ValueError),
            ("health_check_timeout_s", float("nan"), ValueError), ("graceful_shutdown_timeout_s", "1", TypeError),
            ("name", "a#b", ValueError), ("name", 3, TypeError), ("name", "", ValueError),
        ],
    )  # fmt: skip
    def test_a_wrong_value_is_refused(self, name: str, value: Any, error: type[Exception]) -> None:
        with pytest.raises(error):
            Model.options(**{name: value})

    def test_a_user_config_needs_a_method_to_take_it(self) -> None:
        with pytest.raises(TypeError, match="reconfigure"):
            serve.deployment(user_config={"a": 1})(Ingress.func_or_class)
        with pytest.raises(TypeError, match="reconfigure"):
            Ingress.options(user_config={"a": 1})


class TestDecorating:
    def test_functions_and_classes_become_deployments(self) -> None:
        @serve.deployment
        async def predict(request: Any) -> str:
            return "x"

        assert (predict.name, predict.is_function, Model.is_function) == ("predict", True, False)
        assert Model.__doc__ == "A model."
        assert repr(Model) == "Deployment(name='Model')"

    @pytest.mark.parametrize("wrong", ["text", 3, object()])
    def test_anything_else_is_a_type_error(self, wrong: Any) -> None:
        with pytest.raises(TypeError, match="a class or a function"):
            serve.deployment(wrong)

    def test_twice_is_a_type_error(self) -> None:
        with pytest.raises(TypeError, match="already"):
            serve.deployment(Model)

    def test_constructing_one_says_what_to_do(self) -> None:
        with pytest.raises(RuntimeError, match=r"Model\.bind"):
            Model(3)

    def test_subclassing_one_says_what_to_do(self) -> None:
        with pytest.raises(TypeError, match=r"Model\.func_or_class"):
            type("Child", (Model,), {}) if isinstance(Model, type) else exec(
                "class Child(Model): ...", {"Model": Model}
            )


class TestBinding:
    def test_arguments_are_checked_against_init(self) -> None:
        with pytest.raises(TypeError, match=r"Model\.bind\(\).*sise"):
            Model.bind(sise=3)
        [bound] = Model.bind(3).deployments()
        assert (bound.name, bound.init_args, bound.init_kwargs, bound.ingress) == ("Model", (3,), {}, True)

    def test_a_function_takes_no_arguments(self) -> None:
        @serve.deployment
        def predict() -> None: ...

        with pytest.raises(TypeError, match="is a function"):
            predict.bind(1)
        assert predict.bind().ingress.deployment is predict

    def test_nested_applications_become_handles_dependencies_first(self) -> None:
        Pair = namedtuple("Pair", "left right")
        plain = [1, 2]
        app = Ingress.bind(
            Model.options(name="A").bind(),
            [Model.options(name="B").bind()],
            Pair(Model.options(name="C").bind(), 1),
            plain,
            by_name={"d": (Model.options(name="D").bind(),)},
        )
        graph = app.deployments("shop")
        assert [bound.name for bound in graph] == ["A", "B", "C", "D", "Front"]
        assert [bound.ingress for bound in graph] == [False] * 4 + [True]
        args, kwargs = app.deployments("shop")[-1].init_args, graph[-1].init_kwargs
        assert args[0] == DeploymentHandle("A", "shop")
        assert args[1] == [DeploymentHandle("B", "shop")]
        assert args[2] == Pair(DeploymentHandle("C", "shop"), 1)
        assert args[3] is plain
        assert kwargs == {"by_name": {"d": (DeploymentHandle("D", "shop"),)}}
        assert app.ingress.name == "Front"
        assert "Front" in repr(app)

    def test_one_application_used_twice_is_deployed_once(self) -> None:
        shared = Model.bind()
        graph = Ingress.bind(shared, shared, again=shared).deployments()
        assert [bound.name for bound in graph] == ["Model", "Front"]

    def test_one_deployment_bound_twice_gets_ray_serves_suffix(self) -> None:
        graph = Ingress.bind(Model.bind(1), Model.bind(2), Model.bind(3)).deployments()
        assert [bound.name for bound in graph] == ["Model", "Model_1", "Model_2", "Front"]
        assert [arg.deployment_name for arg in graph[-1].init_args] == ["Model", "Model_1", "Model_2"]

    def test_a_cycle_is_refused(self) -> None:
        parts: list[Any] = []
        app = Ingress.bind(Model.bind(), parts)
        parts.append(app)
        with pytest.raises(ValueError, match="Front → Front"):
            app.deployments()

    def test_a_user_config_is_data(self) -> None:
        options = Model.options(user_config={"threshold": 0.5}).settings
        assert json.dumps(options.explicit()) == '{"user_config": {"threshold": 0.5}}'
