"""Values and exceptions on the wire: out-of-band buffers without copies, tensors, and what may go wrong."""

from __future__ import annotations

import pickle
import threading
import warnings
from typing import Any

import pytest

from runtime.errors import (
    CallTimeout,
    ModelNotFound,
    NoSuchThing,
    ProtocolError,
    QueueFull,
    RequestTimeout,
    StoreError,
    UserCodeError,
)
from runtime.link.frames import BODY_CHUNK, Abort, FailureHead, Refused
from runtime.serve.codec import MAX_BUFFERS, OUT_OF_BAND_BYTES, Incoming, decode, encode
from runtime.serve.failures import RemoteError, encode_error, failure_error, from_wire, refusal_error, twin_of

numpy = pytest.importorskip("numpy")


def through(obj: object, chunk: int = BODY_CHUNK) -> Any:
    """Send ``obj`` as a link does: the head's part, then body chunks."""
    encoded = encode(obj)
    incoming = Incoming(encoded.inline, len(encoded.payload), encoded.lengths)
    body = b"".join(encoded.body())
    for start in range(0, len(body), chunk):
        assert not incoming.complete
        incoming.feed(body[start : start + chunk])
    assert incoming.complete
    return incoming.value()


@pytest.mark.parametrize("obj", [((), {}), ((1, "a"), {"x": [None]}), "x" * 200_000, b"", (), {"a": b"y" * 100_000}])
def test_plain_values(obj: object) -> None:
    assert through(obj) == obj
    encoded = encode(obj)
    assert decode(encoded.payload, encoded.buffers) == obj


@pytest.mark.parametrize("chunk", [1000, BODY_CHUNK, 10**7])
def test_arrays_of_several_sizes_in_any_chunks(chunk: int) -> None:
    arrays = [numpy.arange(n, dtype=dtype) for n, dtype in [(0, "f4"), (10, "i8"), (50_000, "f8"), (9_999, "u2")]]
    arrays.append(numpy.arange(60_000).reshape(200, 300).T)
    arrays.append(numpy.arange(60_000).reshape(200, 300)[::2, ::3])
    for sent, got in zip(arrays, through(arrays, chunk), strict=True):
        assert got.dtype == sent.dtype
        assert numpy.array_equal(sent, got)
        assert got.flags.writeable


def test_a_large_array_is_a_view_of_the_senders_memory_and_lies_on_the_receivers_buffer() -> None:
    array = numpy.zeros(1_000_000, dtype="u1")
    encoded = encode(((array,), {}))
    assert len(encoded.payload) < 1000
    [buffer] = encoded.buffers
    assert numpy.shares_memory(numpy.frombuffer(buffer, dtype="u1"), array)
    received = bytearray(buffer)
    (again,), _ = decode(encoded.payload, [received])
    assert numpy.shares_memory(again, numpy.frombuffer(received, dtype="u1"))


def test_small_buffers_stay_in_the_pickle_and_so_do_too_many() -> None:
    assert encode(numpy.zeros(OUT_OF_BAND_BYTES - 1, dtype="u1")).buffers == []
    assert len(encode(numpy.zeros(OUT_OF_BAND_BYTES, dtype="u1")).buffers) == 1
    one = numpy.zeros(OUT_OF_BAND_BYTES, dtype="u1")
    encoded = encode([one[:] for _ in range(MAX_BUFFERS + 1)])
    assert len(encoded.buffers) == MAX_BUFFERS


@pytest.mark.torch
class TestTensors:
    @pytest.fixture
    def torch(self) -> Any:
        return pytest.importorskip("torch")

    def test_dense_cpu_tensors_of_every_dtype_travel_out_of_band(self, torch: Any) -> None:
        for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.complex64):
            tensor = torch.ones((300, 200), dtype=dtype)
            assert len(encode(tensor).buffers) == 1
            assert len(encode(tensor).payload) < 500
            again = through(tensor)
            assert again.dtype == dtype
            assert torch.equal(again, tensor)
            again[0, 0] = 0  # writable

    def test_small_transposed_empty_and_scalar_tensors(self, torch: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for tensor in (torch.arange(6).reshape(2, 3), torch.ones(100, 300).T, torch.empty(0, 3), torch.tensor(3.5)):
                again = through({"x": (tensor,)})["x"][0]
                assert again.shape == tensor.shape
                assert torch.equal(again, tensor)
                assert again.is_contiguous()

    def test_a_large_tensor_is_not_copied(self, torch: Any) -> None:
        tensor = torch.zeros(1_000_000)
        [buffer] = encode(tensor).buffers
        view = torch.frombuffer(buffer, dtype=torch.float32)
        assert view.data_ptr() == tensor.data_ptr()

    def test_what_is_not_dense_or_has_gradients_goes_pytorchs_own_way(self, torch: Any) -> None:
        gradient = through(torch.ones(3, requires_grad=True))
        assert gradient.requires_grad
        assert through(torch.nn.Parameter(torch.ones(3))).requires_grad
        sparse = through(torch.eye(3).to_sparse())
        assert torch.equal(sparse.to_dense(), torch.eye(3))


class TestIncoming:
    def test_more_or_less_than_the_head_said_is_a_protocol_error(self) -> None:
        incoming = Incoming(b"", 10, [])
        incoming.feed(b"12345")
        with pytest.raises(ProtocolError, match="before all of it"):
            incoming.value()
        with pytest.raises(ProtocolError, match="more than"):
            incoming.feed(b"1234567")

    @pytest.mark.parametrize(
        ("inline", "size", "lengths"),
        [(b"abc", 4, []), (b"", -1, []), (b"a", 1, [-1]), (b"a", 1, [2**40]), (b"a", 1, [1] * (MAX_BUFFERS + 1))],
    )
    def test_a_lying_head_is_refused_before_memory_is_taken(self, inline: bytes, size: int, lengths: list[int]) -> None:
        with pytest.raises(ProtocolError):
            Incoming(inline, size, lengths)


class Strange(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")
        self.lock = threading.Lock()


class OutOfStock(Exception):
    def __init__(self, article: str, *, left: int) -> None:
        super().__init__(f"{article}: {left} left")
        self.article, self.left = article, left


class Prefixed(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(f"sorry, {text}")


class Alone(Exception):
    def __new__(cls, *args: object) -> Alone:
        if args:
            raise RuntimeError("there is one already")
        return super().__new__(cls, "alone")

    def __init__(self) -> None:
        super().__init__("alone")


class Silent(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def caught(raise_it: Any) -> BaseException:
    try:
        raise_it()
    except BaseException as exc:
        return exc
    raise AssertionError


def over_the_wire(exc: BaseException) -> BaseException:
    encoded = encode_error(exc, "default_Model#EjYmnQ")
    return from_wire(*decode(encoded.payload, encoded.buffers))


class TestErrors:
    def test_an_exception_arrives_as_itself_with_the_remote_traceback_as_its_cause(self) -> None:
        def user_code() -> None:
            {}["missing"]

        error = over_the_wire(caught(user_code))
        assert isinstance(error, KeyError)
        assert error.args == ("missing",)
        assert isinstance(error.__cause__, RemoteError)
        assert "in default_Model#EjYmnQ" in str(error.__cause__)
        assert "user_code" in str(error.__cause__)
        assert "KeyError: 'missing'" in error.__cause__.text

    def test_an_init_that_takes_other_arguments_is_not_called_again(self) -> None:
        error = over_the_wire(OutOfStock("pen", left=3))
        assert isinstance(error, OutOfStock)
        assert (str(error), error.article, error.left) == ("pen: 3 left", "pen", 3)
        error = over_the_wire(Prefixed("x"))
        assert isinstance(error, Prefixed)
        assert str(error) == "sorry, x"

    def test_a_twin_says_the_same_and_has_the_same_cause(self) -> None:
        cause = KeyError("why")
        for exc in (Prefixed("x"), OutOfStock("pen", left=3), ValueError("plain"), OSError(2, "none", "f.pt")):
            exc.__cause__ = cause
            twin = twin_of(exc)
            assert twin is not exc
            assert (type(twin), str(twin), vars(twin)) == (type(exc), str(exc), vars(exc))
            assert twin.__cause__ is cause
        alone = Alone()
        assert twin_of(alone) is alone

    def test_the_causes_of_the_remote_side_are_in_the_text(self) -> None:
        def user_code() -> None:
            try:
                raise ValueError("first")
            except ValueError as exc:
                raise RuntimeError("second") from exc

        cause = over_the_wire(caught(user_code)).__cause__
        assert "ValueError: first" in str(cause)
        assert "direct cause" in str(cause)

    def test_errors_of_ours_keep_what_they_carry(self) -> None:
        error = over_the_wire(QueueFull("full", hint="later", retry_after_s=2.0))
        assert isinstance(error, QueueFull)
        assert (error.message, error.hint, error.retry_after_s) == ("full", "later", 2.0)

    def test_what_cannot_be_pickled_or_read_back_becomes_a_user_code_error_with_its_words(self) -> None:
        class Local(Exception): ...

        for exc, words in [(Local("here"), "Local: here"), (Strange(1, 2), "Strange: 1 and 2"), (Silent(), "Silent")]:
            error = over_the_wire(exc)
            if isinstance(error, Silent):
                continue  # it can be pickled, only not printed
            assert isinstance(error, UserCodeError)
            assert str(error).startswith(words)

    def test_an_unknown_class_at_the_receiver_does_not_hide_the_error(self) -> None:
        error = from_wire(b"\x80\x05cnowhere\nNothing\n.", "Nothing", "lost", "text", "here")
        assert str(error) == "Nothing: lost"
        assert isinstance(from_wire(pickle.dumps("no exception"), "X", "", "", ""), UserCodeError)

    def test_refusals_and_aborts_become_errors_of_the_tree(self) -> None:
        full = refusal_error(Refused("full", FailureHead("queue_full", "no room", 1.5)))
        assert isinstance(full, QueueFull)
        assert full.retry_after_s == 1.5
        assert isinstance(refusal_error(Refused("failed", FailureHead("model_not_found", "none"))), ModelNotFound)
        assert refusal_error(Refused("draining")).status == 503
        assert isinstance(refusal_error(Refused("failed", FailureHead("not_found", "no deployment"))), NoSuchThing)
        assert isinstance(refusal_error(Refused("failed", FailureHead("store_failed", "no disk"))), StoreError)
        late = failure_error(Abort("request_timeout", "late", 408), "aborted")
        assert isinstance(late, CallTimeout)
        assert isinstance(late, RequestTimeout | TimeoutError)
