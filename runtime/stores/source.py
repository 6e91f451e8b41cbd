"""What the ``source`` of a deployment says: a template of a path, or of an S3 key, with ``{model_id}`` in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from runtime.errors import BadModelId, ConfigError

PLACEHOLDER: Final = "{model_id}"
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_FORMS: Final = (
    "Write ./models/{model_id}/model.pt, file:///models/{model_id}/model.pt or s3://bucket/{model_id}/model.pt."
)


@dataclass(frozen=True, slots=True)
class LocalSource:
    """Files on this machine. ``template`` is absolute; a folder each model if ``is_folder``."""

    template: str
    is_folder: bool

    def path(self, model_id: str) -> Path:
        """Return the model's path. Raises ``BadModelId`` for an id that would leave the template's folder."""
        return Path(fill(self.template, model_id))


@dataclass(frozen=True, slots=True)
class S3Source:
    """Objects in a bucket; everything under a prefix if ``is_folder`` (the template then ends with '/')."""

    bucket: str
    template: str
    is_folder: bool

    def key(self, model_id: str) -> str:
        """Return the model's key, or prefix. Raises ``BadModelId`` for an id that would leave the template's."""
        return fill(self.template, model_id)


def parse_source(source: str, config_dir: Path) -> LocalSource | S3Source:
    """Return what ``source`` says; relative paths start at ``config_dir``. Raises ``ConfigError``."""
    match = _SCHEME.match(source)
    scheme = match[1].lower() if match else ""
    if scheme == "s3":
        return _parse_s3(source)
    if scheme == "file":
        url = urlsplit(source)
        if url.netloc not in ("", "localhost"):
            raise ConfigError(f"source {source!r} names the host {url.netloc!r}", hint="Write file:///path.")
        template = unquote(url.path)
    elif scheme:
        raise ConfigError(f"source {source!r}: there is no store for {scheme}://", hint=_FORMS)
    else:
        template = str(config_dir / Path(source).expanduser()) + ("/" if source.endswith("/") else "")
    _check_template(source, template)
    return LocalSource(template.rstrip("/"), template.endswith("/"))


def fill(template: str, model_id: str) -> str:
    """Return the template with the id in it, which lies below the template's fixed folder whatever the id.

    Symbolic links are followed: who put one there decided so, and that was not the sender of a request.
    """
    if not model_id or any(part in ("", ".", "..") for part in model_id.split("/")) or not model_id.isprintable():
        raise BadModelId(f"the model id {model_id!r} is no relative path", hint="An id is names, joined by '/'.")
    filled = template.replace(PLACEHOLDER, model_id)
    if ".." in filled[len(_fixed_folder(template)) :].split("/"):
        raise BadModelId(f"the model id {model_id!r} leaves the folder of its source")
    return filled


def _fixed_folder(template: str) -> str:
    return template[: template.index(PLACEHOLDER)].rpartition("/")[0]


def _parse_s3(source: str) -> S3Source:
    bucket, _, template = source[len("s3://") :].partition("/")
    if not bucket or PLACEHOLDER in bucket:
        raise ConfigError(f"source {source!r} names no bucket", hint="Write s3://bucket/{model_id}/model.pt.")
    _check_template(source, template)
    return S3Source(bucket, template, template.endswith("/"))


def _check_template(source: str, template: str) -> None:
    if PLACEHOLDER not in template:
        raise ConfigError(f"source {source!r} has no {PLACEHOLDER}: every model would be the same file", hint=_FORMS)
    rest = template.replace(PLACEHOLDER, "")
    if "{" in rest or "}" in rest:
        raise ConfigError(f"source {source!r}: only {PLACEHOLDER} is replaced", hint=_FORMS)
    if ".." in template[len(_fixed_folder(template)) :].split("/"):
        raise ConfigError(f"source {source!r} has '..' after {PLACEHOLDER}", hint="Write the path without it.")
