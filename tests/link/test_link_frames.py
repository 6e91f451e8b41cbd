import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ProtocolError
from runtime.link import frames
from runtime.link.frames import HEADER, HEADER_SIZE, RequestHead, decode_head, encode_head
from runtime.link.inbox import Inbox

_TYPES = sorted(frames.TYPE_NAMES)


def test_a_header_is_ten_bytes() -> None:
    assert HEADER_SIZE == 10


def receive(data: bytes) -> None:
    """Hand bytes to a new inbox."""
    inbox = Inbox(lambda kind, number, flags, payload: True)
    inbox.free()[: len(data)] = data
    inbox.filled(len(data))


@pytest.mark.parametrize("kind", _TYPES)
def test_every_type_is_refused_one_byte_over_its_limit(kind: int) -> None:
    limit = frames.LIMITS[kind]
    assert len(frames.frame(kind, 1, bytes(limit))) == HEADER_SIZE + limit
    with pytest.raises(ProtocolError, match="over its limit"):
        frames.frame(kind, 1, bytes(limit + 1))
    receive(HEADER.pack(limit, 1, kind, 0))
    with pytest.raises(ProtocolError, match="over its limit"):
        receive(HEADER.pack(limit + 1, 1, kind, 0))


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ProtocolError, match="unknown frame type 99"):
        receive(HEADER.pack(0, 1, 99, 0))


def test_credit_holds_its_amount() -> None:
    data = frames.credit(7, 65536)
    assert HEADER.unpack_from(data) == (4, 7, frames.CREDIT, 0)
    assert int.from_bytes(data[HEADER_SIZE:], "big") == 65536


@pytest.mark.parametrize("payload", [b"", b"\xff\xff", b"\x91\x01", msgspec.msgpack.encode([1, 2, 3])])
def test_a_bad_head_is_a_protocol_error(payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="bad RequestHead head"):
        decode_head(RequestHead, payload)


_HEADS = st.builds(
    RequestHead,
    method=st.sampled_from(["GET", "POST"]),
    path=st.text(),
    raw_path=st.binary(),
    query=st.binary(),
    scheme=st.just("http"),
    http_version=st.just("1.1"),
    client=st.none() | st.tuples(st.text(), st.integers(0, 65535)),
    server=st.none(),
    headers=st.lists(st.tuples(st.binary(), st.binary())),
    route=st.just("/"),
    model=st.text(),
    request_id=st.text(),
    time_left_ms=st.integers(0, 2**31),
    body=st.binary(),
)


@given(_HEADS)
def test_a_head_comes_back_as_it_went(head: RequestHead) -> None:
    assert decode_head(RequestHead, encode_head(head)) == head


@given(
    st.lists(
        st.tuples(st.sampled_from(_TYPES), st.integers(0, 2**32 - 1), st.integers(0, 255), st.integers(0, 400_000)),
        max_size=8,
    ),
    st.integers(1, 300_000),
)
def test_frames_come_out_of_the_inbox_as_they_went_in(wanted: list[tuple[int, int, int, int]], step: int) -> None:
    sent = [(k, s, f, bytes([k]) * min(n, frames.LIMITS[k])) for k, s, f, n in wanted]
    stream = b"".join(frames.frame(k, s, p, f) for k, s, f, p in sent)
    got: list[tuple[int, int, int, bytes]] = []

    def on_frame(kind: int, number: int, flags: int, payload: memoryview) -> bool:
        got.append((kind, number, flags, bytes(payload)))
        return True

    inbox, position = Inbox(on_frame), 0
    while position < len(stream):
        room = inbox.free()
        size = min(len(room), step, len(stream) - position)
        assert size > 0, "the inbox must always have room"
        room[:size] = stream[position : position + size]
        position += size
        inbox.filled(size)
    assert got == sent


def test_the_inbox_stops_when_told() -> None:
    seen: list[int] = []

    def on_frame(kind: int, number: int, flags: int, payload: memoryview) -> bool:
        seen.append(number)
        return False

    inbox = Inbox(on_frame)
    data = frames.frame(frames.STOP, 1) + frames.frame(frames.STOP, 2)
    inbox.free()[: len(data)] = data
    inbox.filled(len(data))
    assert seen == [1]
