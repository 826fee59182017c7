"""How many processors there are for us."""

import os


def usable_processors() -> int:
    """Return how many processors this process may use: fewer than the machine has, inside most containers."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
