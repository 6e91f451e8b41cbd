"""``output.log``: the file behind a child's file descriptors 1 and 2, for what never passes through Python."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

OUTPUT_NAME: Final = "output.log"
_LIMIT_BYTES: Final = 16 * 2**20
_KEEP_BYTES: Final = 256 * 2**10
_BLOCK: Final = 64 * 2**10


def read_output_tail(log_dir: Path, n: int) -> str:
    """Return the last ``n`` lines of a process's ``output.log``: the user's traceback where it could not start.

    Empty if there is none. Bytes that are not UTF-8 are replaced; control characters stay as they are.
    """
    try:
        with (log_dir / OUTPUT_NAME).open("rb") as file:
            position = file.seek(0, os.SEEK_END)
            data = b""
            while position > 0 and data.rstrip(b"\n").count(b"\n") < n:
                step = min(_BLOCK, position)
                position -= step
                file.seek(position)
                data = file.read(step) + data
    except OSError:
        return ""
    return "\n".join(data.decode("utf-8", "replace").splitlines()[-n:]) if n > 0 else ""


def trim_output(log_dir: Path, limit_bytes: int = _LIMIT_BYTES) -> bool:
    """Cut ``output.log`` down to its end once it is over the limit; return whether it was.

    The file is open with O_APPEND in the child and in the children it may have, so it is cut in place: what is
    written next lands at the new end.
    """
    path = log_dir / OUTPUT_NAME
    try:
        if path.stat().st_size <= limit_bytes:
            return False
        with path.open("rb") as file:
            file.seek(-min(_KEEP_BYTES, limit_bytes), os.SEEK_END)
            tail = file.read().partition(b"\n")[2]
        os.truncate(path, 0)
        with path.open("ab") as file:
            file.write(tail)
    except OSError:
        return False
    return True
