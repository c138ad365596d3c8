"""Locks on open files, which a process loses when it ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
from typing import IO, Any


def try_lock(file: IO[Any]) -> bool:
    """Lock an open file until it is closed; return False at once if another process has it.

    Raises:
        OSError: the file system has no locks.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     try_lock(file)
    True
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as failure:
        if failure.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise
        return False
    return True
