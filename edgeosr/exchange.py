"""Two directories change places in one step, where the system can do that."""

import ctypes
import errno
import os
import sys
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
# Old kernels and C libraries, file systems without it (some network and FUSE ones), and sandboxes.
_CANNOT = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM})


def exchange(first: Path, second: Path) -> bool:
    """Let two existing paths of one file system change places; nobody sees a moment without either.

    Linux alone has it (``renameat2`` with ``RENAME_EXCHANGE``, Linux 3.15, glibc 2.28).

    Returns:
        False if this system or file system cannot; nothing has happened then.

    Raises:
        OSError: it can, but not here (permissions, one of them is missing).
    """
    renameat2 = _renameat2()
    if renameat2 is None:
        return False
    names = os.fsencode(first), os.fsencode(second)
    if renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


def _renameat2() -> "ctypes._NamedFuncPointer | None":
    if sys.platform != "linux":
        return None
    found = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if found is None:
        return None
    found.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    found.restype = ctypes.c_int
    function: ctypes._NamedFuncPointer = found
    return function
