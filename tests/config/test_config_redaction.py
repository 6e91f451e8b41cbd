"""What is shown of a configuration holds no secret."""

from __future__ import annotations

import json

from runtime.config.models import Config
from runtime.config.redact import redacted


def test_secrets_are_hidden_and_the_rest_is_shown() -> None:
    config = Config.model_validate(
        {
            "http": {"admin_token": "hunter2-hunter2-hunter2"},
            "s3": {"secret_access_key": "hunter2", "session_token": "hunter2", "access_key_id": "AKIA"},
            "deployments": [
                {
                    "name": "M",
                    "loader": "app:load",
                    "source": "s3://bucket/{model_id}",
                    "s3": {"endpoint_url": "http://user:hunter2@minio:9000"},
                    "env": {"TOKEN": "hunter2"},
                    "user_config": {"db": {"password": "hunter2", "user": "u"}, "apiKeys": ["hunter2"], "keep": None},
                }
            ],
        }
    )
    shown = redacted(config)
    assert "hunter2" not in json.dumps(shown)
    assert shown["http"]["admin_token"] == "***"
    assert shown["s3"]["access_key_id"] == "AKIA"
    deployment = shown["deployments"][0]
    assert deployment["env"] == {"TOKEN": "***"}
    assert deployment["user_config"] == {"db": {"password": "***", "user": "u"}, "apiKeys": ["***"], "keep": None}
    assert deployment["s3"]["endpoint_url"] == "http://***@minio:9000"
    assert shown["http"]["port"] == 8000


def test_what_is_not_set_stays_null() -> None:
    shown = redacted(Config.model_validate({"deployments": [{"name": "M", "loader": "app:load"}]}))
    assert shown["http"]["admin_token"] is None
    assert shown["s3"]["secret_access_key"] is None
