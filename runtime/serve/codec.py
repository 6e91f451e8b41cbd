"""Values on the wire: pickle protocol 5, large buffers out of band, so that an array is not copied into the pickle.

Only links that have shown a token carry pickles: whoever may send one may run code.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from runtime.errors import ProtocolError
from runtime.link.frames import BODY_CHUNK

OUT_OF_BAND_BYTES: Final = 16 * 1024  # smaller buffers stay in the pickle, which then often fits the head's frame
SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})  # nothing of them goes out of band
MAX_BUFFERS: Final = 4096  # their lengths travel in the head; further buffers stay in the pickle
MAX_VALUE_BYTES: Final = 16 * 2**30  # refused before memory is taken for it


class Encoded(NamedTuple):
    """A pickle and its out-of-band buffers."""

    payload: bytes
    buffers: list[memoryview]

    @property
    def inline(self) -> bytes:
        """The payload if it fits into a head's frame, else nothing: then it is the body's first part."""
        return self.payload if len(self.payload) <= BODY_CHUNK else b""

    @property
    def lengths(self) -> list[int]:
        return [len(buffer) for buffer in self.buffers]

    def joined(self, values: Mapping[int | str, object]) -> Encoded:
        """Return it, a pickle of (args, kwargs), with ``values`` by position or name put into it where it is read."""
        return encode(_Joined(self, values))

    def owned(self) -> Encoded:
        """Return the same with buffers that nobody changes: copies, where they are another object's memory."""
        if not self.buffers:
            return self
        return Encoded(self.payload, [b if type(b.obj) is bytes else memoryview(bytes(b)) for b in self.buffers])

    def body(self) -> list[memoryview]:
        """Return what follows the head: the payload if it is not inline, then the buffers."""
        return [memoryview(self.payload), *self.buffers] if len(self.payload) > BODY_CHUNK else self.buffers


class _Joined:
    """Arguments that were pickled before all of them were there. Unpickled, it is (args, kwargs)."""

    def __init__(self, early: Encoded, late: Mapping[int | str, object]) -> None:
        self._early = early
        self._late = dict(late)

    def __reduce__(self) -> tuple[Any, ...]:
        buffers = [pickle.PickleBuffer(bytearray(buffer)) for buffer in self._early.buffers]  # for arrays to write to
        return _join, (self._early.payload, buffers, self._late)


def _join(payload: bytes, buffers: list[Any], late: dict[int | str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args, kwargs = decode(payload, buffers)
    given = list(args)
    for name, value in late.items():
        if isinstance(name, int):
            given[name] = value
        else:
            kwargs[name] = value
    return tuple(given), kwargs


def encode(obj: object) -> Encoded:
    """Pickle ``obj``. Buffers of 16 KiB and more are views of the object's own memory: ``owned`` ones are not.

    NumPy arrays, ``bytearray`` wrapped in ``pickle.PickleBuffer`` and dense CPU tensors of PyTorch go out of band.
    Raises what pickling raises (``TypeError``, ``AttributeError``, ``pickle.PicklingError``).
    """
    buffers: list[memoryview] = []
    if type(obj) in SCALARS:
        return Encoded(pickle.dumps(obj, protocol=5), buffers)

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if len(view) < OUT_OF_BAND_BYTES or len(buffers) == MAX_BUFFERS:
            return True
        buffers.append(view)
        return False

    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "Tensor"):
        return Encoded(pickle.dumps(obj, protocol=5, buffer_callback=keep_in_band), buffers)
    out = io.BytesIO()
    pickler = pickle.Pickler(out, protocol=5, buffer_callback=keep_in_band)
    pickler.dispatch_table = {**copyreg.dispatch_table, torch.Tensor: _reduce_tensor}
    pickler.dump(obj)
    return Encoded(out.getvalue(), buffers)


def decode(payload: bytes | bytearray | memoryview, buffers: Sequence[bytearray | memoryview | bytes]) -> Any:
    """Unpickle. Arrays lie on ``buffers`` without a copy: writable ones give writable arrays."""
    return pickle.loads(payload, buffers=buffers)


def _reduce_tensor(tensor: Any) -> Any:
    """Reduce a dense CPU tensor to its bytes; leave every other kind to PyTorch."""
    torch = sys.modules["torch"]
    plain = tensor.device.type == "cpu" and tensor.layout is torch.strided and not tensor.is_quantized
    if not plain or tensor.requires_grad or tensor.is_conj() or tensor.is_neg() or not tensor.numel():
        return tensor.__reduce_ex__(5)
    flat = tensor.contiguous().reshape(-1).view(torch.uint8)
    return _tensor, (pickle.PickleBuffer(flat.numpy()), str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))


def _tensor(buffer: Any, dtype: str, shape: tuple[int, ...]) -> Any:
    import torch

    view = memoryview(buffer)
    if view.readonly:  # it was small and came inside the pickle
        view = memoryview(bytearray(view))
    return torch.frombuffer(view, dtype=getattr(torch, dtype)).reshape(shape)


class Incoming:
    """A value that arrives: the head's part at once, the rest as body bytes into buffers of the right size."""

    def __init__(self, inline: bytes, payload_bytes: int, lengths: Sequence[int], *, elsewhere: bool = False) -> None:
        """``elsewhere``: no body follows, the parts are to be ``take``n from another place."""
        if lengths or payload_bytes != len(inline):
            _check(payload_bytes, lengths)
        if inline and len(inline) != payload_bytes:
            raise ProtocolError(f"a payload of {payload_bytes} bytes came with {len(inline)}")
        self._inline = inline
        self.lengths = lengths if inline else [payload_bytes, *lengths]  # of what does not come with the head
        self._parts: Sequence[bytearray | memoryview] = ()
        self._views: list[memoryview] = []
        self._filled = 0  # bytes of the first view that have arrived
        if self.lengths and not elsewhere:
            self._allocate()

    def _allocate(self) -> None:
        self._parts = parts = [bytearray(length) for length in self.lengths]
        self._views = [memoryview(part) for part in parts if part]

    def take(self, parts: Sequence[memoryview]) -> None:
        """Have all of what does not come with the head, in parts of ``lengths``."""
        self._parts = parts

    @property
    def complete(self) -> bool:
        return not self._views

    def feed(self, data: bytes) -> None:
        """Take the next body bytes. Raises ``ProtocolError`` for more than the head said."""
        view = memoryview(data)
        while view:
            if not self._views:
                raise ProtocolError(f"{len(view)} bytes more than the value's head said")
            target = self._views[0]
            size = min(len(view), len(target) - self._filled)
            target[self._filled : self._filled + size] = view[:size]
            view = view[size:]
            self._filled += size
            if self._filled == len(target):
                self._filled = 0
                self._views.pop(0)

    def value(self) -> Any:
        """Return the value, once. Raises ``ProtocolError`` while it is incomplete, or what unpickling raises."""
        if not self.complete:
            raise ProtocolError("a value ended before all of it had arrived")
        parts, self._parts = self._parts, ()  # only the value holds on to them
        if self._inline:
            return decode(self._inline, parts)
        return decode(parts[0], parts[1:])


def _check(payload_bytes: int, lengths: Sequence[int]) -> None:
    """Raise ``ProtocolError`` for lengths that nobody may ask for memory with."""
    if payload_bytes < 0 or any(length < 0 for length in lengths):
        raise ProtocolError("a value with a negative length")
    if len(lengths) > MAX_BUFFERS or payload_bytes + sum(lengths) > MAX_VALUE_BYTES:
        raise ProtocolError(f"a value of {len(lengths)} buffers, {payload_bytes + sum(lengths)} bytes is too large")
