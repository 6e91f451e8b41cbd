"""``output.log``: the file behind a child's file descriptors 1 and 2, for what never passes through Python."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

OUTPUT_NAME: Final = "output.log"
_LIMIT_BYTES: Final = 16 * 2**20
_KEEP_BYTES: Final = 256 * 2**10


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
