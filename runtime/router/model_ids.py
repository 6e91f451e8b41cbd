"""Which model a request names: header, query, path or JSON field; checked before it becomes a file path."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from runtime.errors import BadModelId
from runtime.router.settings import ModelIdSettings

MAX_LENGTH: Final = 200
_MEMO_LIMIT: Final = 10_000
_decode_json: Final = msgspec.json.Decoder().decode


class ModelIds:
    """Finds and checks model ids. Good ids are remembered, in a bounded memo, as bytes → str."""

    def __init__(self, settings: ModelIdSettings) -> None:
        self._settings = settings
        self._matches = re.compile(settings.pattern).fullmatch
        self._memo: dict[bytes, str] = {}
        self._path = _path_pattern(settings.path) if settings.path else None
        self._json = settings.json_field.split(".") if settings.json_field else []
        self.elsewhere = bool(settings.query or settings.path)
        self.in_body = bool(self._json)

    def check(self, raw: bytes) -> str:
        """Return the id. Raises ``BadModelId``; the message shows no more than a safe piece of it."""
        known = self._memo.get(raw)
        if known is not None:
            return known
        model = self._checked(raw)
        if len(self._memo) >= _MEMO_LIMIT:
            self._memo.clear()
        self._memo[raw] = model
        return model

    def from_url(self, path: str, query: bytes) -> bytes | None:
        """Return the id that the query or else the path (below the route) names, None if neither does."""
        if self._settings.query and query:
            values = [v for name, v in parse_qsl(query.decode("latin-1")) if name == self._settings.query and v]
            if values:
                return values[-1].encode()
        if self._path is not None and (match := self._path.fullmatch(path)):
            return match["model_id"].encode("utf-8", "surrogateescape")
        return None

    def from_body(self, body: bytes) -> bytes | None:
        """Return the id in the configured field of a JSON body, None if it is no JSON or has no such field."""
        try:
            value = _decode_json(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        for name in self._json:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, str) and value:
            return value.encode("utf-8", "surrogatepass")
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value).encode()
        return None

    def _checked(self, raw: bytes) -> str:
        if len(raw) > MAX_LENGTH:
            raise BadModelId(f"the model id is {len(raw)} characters long; at most {MAX_LENGTH} are allowed")
        try:
            model = raw.decode("ascii" if raw.isascii() else "utf-8")
        except UnicodeDecodeError:
            model = raw.decode("latin-1")  # as headers were read once, and as some clients still write them
        refused = ".." in model or not model.isprintable() or any(part in ("", ".") for part in model.split("/"))
        if refused or self._matches(model) is None:
            raise BadModelId(
                f"{model[:60]!r} is not a model id: it must match {self._settings.pattern}, without '..' and "
                "without a name that is only '.'"
            )
        return model


def _path_pattern(template: str) -> re.Pattern[str]:
    """Compile ``/models/{model_id}/predict``: the path below the route."""
    before, _, after = template.partition("{model_id}")
    return re.compile(re.escape(before) + "(?P<model_id>.+?)" + re.escape(after))
