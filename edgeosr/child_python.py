"""How a module is started in a Python process of its own."""

import os
import sys

# What ``-c`` and ``-m`` put first is the working directory: a numpy.py that lies there must not be run.
_START = (
    "import sys; module, sys.path[:] = sys.argv[1], sys.argv[2].split('\\n'); del sys.argv[1:3]; "
    "import runpy; runpy.run_module(module, run_name='__main__', alter_sys=True)"
)


def child_command(module: str, *words: str) -> list[str] | None:
    """Return the command that runs ``module`` as ``python -m`` does, and finds what this process finds.

    The child imports from where this process does, in the same order, but not from the working directory,
    which may have changed since. Python's own switch for it (``-P``) is not in 3.10. What keeps the
    environment's variables and the user's own packages out of this process keeps them out of the child.

    Args:
        module: full name, e.g. ``edgeosr.runtime.engines.child``.
        words: its arguments.

    Returns:
        None where Python is a part of another program, which is what would be started.
    """
    program = os.path.basename(sys.executable or "").lower()
    if getattr(sys, "frozen", False) or not program.startswith(("python", "pypy")):
        return None
    return [sys.executable, *_switches(), "-c", _START, module, "\n".join(_import_path()), *words]


def _switches() -> list[str]:
    flags = sys.flags
    if flags.isolated:
        return ["-I"]
    given = {"-E": flags.ignore_environment, "-s": flags.no_user_site, "-S": flags.no_site}
    return [switch for switch, on in given.items() if on]


def _import_path() -> list[str]:
    return [entry for entry in sys.path if isinstance(entry, str) and entry and _can_be_passed(entry)]


def _can_be_passed(entry: str) -> bool:
    try:
        return not {0, 10} & set(os.fsencode(entry))  # NUL ends a word, and lines part the entries
    except UnicodeEncodeError:
        return False
