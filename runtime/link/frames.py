"""The framed protocol between router and replica: frame types, heads and limits. Pure: bytes in, bytes out.

A frame is a 10-byte header (u32 payload length, u32 stream, u8 type, u8 flags, big-endian) and a payload.
Heads are msgpack arrays (``msgspec``); bodies are raw bytes. Stream 0 is the connection itself; the router opens
odd streams, the replica (deployment handles) even ones. Exactly one terminal frame ends a stream, from the side
that did not open it.
"""

from __future__ import annotations

import struct
from typing import Final, NoReturn, TypeVar

import msgspec

from runtime.errors import ProtocolError

MAGIC: Final = "mux"
VERSION: Final = 1
HEADER: Final = struct.Struct(">IIBB")
HEADER_SIZE: Final = HEADER.size
KIB: Final = 1024
BODY_CHUNK: Final = 64 * KIB
INITIAL_WINDOW: Final = 256 * KIB
MAX_WINDOW: Final = 1024 * KIB
MAX_STREAM: Final = 2**32 - 1

# flags
END: Final = 1  # the sender's half of the stream is complete
MORE: Final = 2  # a message continues in the next frame
TEXT: Final = 4  # a websocket message is text

# types
HELLO, STATE, REQUEST, ADMITTED, REFUSED, RESPONSE, BODY, CREDIT, STOP, CANCEL = range(1, 11)
ABORT, MESSAGE, CLOSE, CALL, RESULT, COMMAND, REPLY, PING, PONG, GOAWAY = range(11, 21)

TYPE_NAMES: Final = {
    HELLO: "hello", STATE: "state", REQUEST: "request", ADMITTED: "admitted", REFUSED: "refused",
    RESPONSE: "response", BODY: "body", CREDIT: "credit", STOP: "stop", CANCEL: "cancel", ABORT: "abort",
    MESSAGE: "message", CLOSE: "close", CALL: "call", RESULT: "result", COMMAND: "command", REPLY: "reply",
    PING: "ping", PONG: "pong", GOAWAY: "goaway",
}  # fmt: skip

HEAD_LIMIT: Final = 64 * KIB
_HEAD_AND_BODY: Final = HEAD_LIMIT + BODY_CHUNK + 64
LIMITS: Final[dict[int, int]] = {
    HELLO: 4 * KIB, STATE: 256 * KIB, REQUEST: _HEAD_AND_BODY, ADMITTED: 64, REFUSED: 8 * KIB,
    RESPONSE: _HEAD_AND_BODY, BODY: BODY_CHUNK, CREDIT: 4, STOP: 0, CANCEL: 0, ABORT: 8 * KIB,
    MESSAGE: BODY_CHUNK, CLOSE: 1 * KIB, CALL: _HEAD_AND_BODY, RESULT: _HEAD_AND_BODY, COMMAND: 64 * KIB,
    REPLY: 256 * KIB, PING: 8, PONG: 8, GOAWAY: 1 * KIB,
}  # fmt: skip
LIMIT_BY_TYPE: Final = [LIMITS.get(kind, -1) for kind in range(256)]  # -1: there is no such type

Headers = list[tuple[bytes, bytes]]


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """First frame of both sides. ``places`` … ``max_concurrent_loads`` are the replica's; 0 from a router."""

    magic: str
    version: int
    role: str  # "router" | "replica"
    id: str  # "router-0" | "Model#EjYmnQ"
    token: str = ""
    deployment: str = ""
    index: int = 0
    generation: int = 0
    places: int = 0
    slots: int = 0
    caches: int = 0
    max_batch: int = 1
    max_concurrent_loads: int = 4


class FailureHead(msgspec.Struct, array_like=True, frozen=True):
    code: str
    message: str
    retry_after_s: float | None = None


class ModelHead(msgspec.Struct, array_like=True, frozen=True):
    model: str
    state: str
    load_s: float = 0.0
    size_bytes: int = 0
    failure: FailureHead | None = None


class SummaryHead(msgspec.Struct, array_like=True, frozen=True):
    in_flight: int = 0
    free_slots: int = 0
    evictable: int = 0
    stuck: int = 0
    coldness: int = 0
    wants: int = 0


class State(msgspec.Struct, array_like=True):
    """Replica → router, stream 0: a snapshot (may span frames, ``MORE``) or a delta."""

    seq: int
    snapshot: bool
    models: list[ModelHead]
    summary: SummaryHead | None = None


class RequestHead(msgspec.Struct, array_like=True):
    """A request. ``time_left_ms`` 0: no deadline. ``body`` is its first part; flag END if that is all of it."""

    method: str
    path: str
    raw_path: bytes
    query: bytes
    scheme: str  # http, https, ws, wss
    http_version: str
    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    headers: Headers
    route: str  # the deployment's route_prefix: ASGI root_path
    model: str
    request_id: str
    time_left_ms: int
    queue_ms: float = 0.0
    cache: str = ""  # what the router saw: "wait" if it waited for a load or slot, else ""
    body: bytes = b""


class ResponseHead(msgspec.Struct, array_like=True):
    """A response's head and first body part. ``cache``: hit, load, wait or "" (no model)."""

    status: int
    headers: Headers
    cache: str = ""
    load_ms: float = 0.0
    wait_ms: float = 0.0
    body: bytes = b""


class Refused(msgspec.Struct, array_like=True, frozen=True):
    """Terminal: surely not begun. ``why``: absent, full, draining, failed, deadlock, expired, or memory (the
    receiver of a call cannot open the caller's; ask again with a body)."""

    why: str
    failure: FailureHead | None = None


class Abort(msgspec.Struct, array_like=True, frozen=True):
    """Terminal: the stream failed; after a partial response the client's connection is closed."""

    code: str
    message: str
    status: int = 500


class Close(msgspec.Struct, array_like=True, frozen=True):
    """A websocket close, from either side (terminal from the replica)."""

    code: int = 1000
    reason: str = ""


class MemoryHead(msgspec.Struct, array_like=True, frozen=True):
    """Where what would follow a call's head as body lies instead: a segment of ``link.memory``."""

    process: int
    descriptor: int
    size: int  # of the segment, in bytes
    mark: bytes  # it begins with this for as long as it holds what is meant


class CallHead(msgspec.Struct, array_like=True):
    """A deployment handle's call. ``payload`` is a protocol-5 pickle of (args, kwargs); if it is larger than fits,
    it follows as body; the out-of-band buffers (lengths in ``buffers``) follow as body too, or lie in ``memory``."""

    deployment: str
    method: str
    model: str
    request_id: str
    route: str
    chain: list[str]  # deployments on the way here, outermost first
    time_left_ms: int
    streaming: bool
    payload_bytes: int
    buffers: list[int]
    payload: bytes = b""
    memory: MemoryHead | None = None


class ResultHead(msgspec.Struct, array_like=True):
    """A call's answer, or one item of a streaming answer. ``kind``: value, item, end or error."""

    kind: str
    payload_bytes: int
    buffers: list[int]
    payload: bytes = b""


class Cause(msgspec.Struct, array_like=True, frozen=True):
    """Whose request made the router want a model: the ``data`` of a want, for the replica's logs."""

    request_id: str
    route: str


class Command(msgspec.Struct, array_like=True, omit_defaults=True):
    """A word on stream 0. Router → replica: want, unwant, release, pass, expect. Replica → router: place, withdrawn.

    Admin verbs (load, unload, pin, unpin, reconfigure, drain) carry ``id`` > 0 and are answered by a reply.
    """

    verb: str
    model: str = ""
    kind: str = ""
    age_s: float = 0.0
    waiting: int = 0
    spare: str = ""
    id: int = 0
    data: msgspec.Raw = msgspec.Raw(b"\xc0")


class Reply(msgspec.Struct, array_like=True):
    id: int
    ok: bool
    message: str = ""
    data: msgspec.Raw = msgspec.Raw(b"\xc0")


_encoder: Final = msgspec.msgpack.Encoder()
encode_head: Final = _encoder.encode

T = TypeVar("T")


class HeadDecoder:
    """Decodes heads of every struct with one cached decoder each; raises ``ProtocolError`` on bad bytes."""

    def __init__(self) -> None:
        self._decoders: dict[type, msgspec.msgpack.Decoder[object]] = {}

    def decode(self, kind: type[T], payload: bytes | memoryview) -> T:
        decoder = self._decoders.get(kind)
        if decoder is None:
            decoder = self._decoders[kind] = msgspec.msgpack.Decoder(kind)
        try:
            return decoder.decode(payload)  # type: ignore[return-value]
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise ProtocolError(f"bad {kind.__name__} head: {exc}") from exc


decode_head: Final = HeadDecoder().decode


def header(kind: int, stream: int, size: int, flags: int = 0) -> bytes:
    """Encode the header of a frame of ``size`` payload bytes. Raises ``ProtocolError`` over the type's limit."""
    if size > LIMIT_BY_TYPE[kind]:
        refuse_header(size, kind)
    return HEADER.pack(size, stream, kind, flags)


def frame(kind: int, stream: int, payload: bytes | memoryview = b"", flags: int = 0) -> bytes:
    """Encode one frame. Raises ``ProtocolError`` if the payload is over the type's limit."""
    return header(kind, stream, len(payload), flags) + payload


def credit(stream: int, amount: int) -> bytes:
    """Encode a grant of ``amount`` more body bytes."""
    return HEADER.pack(4, stream, CREDIT, 0) + amount.to_bytes(4, "big")


def refuse_header(size: int, kind: int) -> NoReturn:
    """Raise ``ProtocolError`` for a size over ``LIMIT_BY_TYPE``: before anything of the frame is buffered."""
    limit = LIMIT_BY_TYPE[kind]
    if limit < 0:
        raise ProtocolError(f"unknown frame type {kind}")
    raise ProtocolError(f"a {TYPE_NAMES[kind]} frame of {size} bytes is over its limit of {limit}")
