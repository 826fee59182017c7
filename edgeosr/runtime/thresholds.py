"""The threshold that a runtime applies: one number, or one a class, and what a user may set."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from edgeosr.arguments import number_from
from edgeosr.errors import UsageError, suggestion
from edgeosr.printed import brief
from edgeosr.scoring.thresholds import Limit

# What ``Runtime.threshold`` gives and takes.
RuntimeThreshold = float | Mapping[str, float]


def shown_threshold(limit: Limit, classes: Sequence[str]) -> RuntimeThreshold:
    """Return the number, or a read-only mapping from class name to threshold in the order of the classes."""
    if isinstance(limit, tuple):
        return MappingProxyType(dict(zip(classes, limit, strict=True)))
    return limit


def changed_limit(limit: Limit, value: Any, classes: Sequence[str]) -> Limit:
    """Return what a user sets.

    Args:
        limit: before.
        value: a number, for every class; or a mapping from class name to threshold: classes that it does not
            name keep theirs, and an empty one changes nothing.
        classes: the bundle's.

    Raises:
        UsageError: not a number, NaN, or a name that is no class of the bundle.
    """
    if not isinstance(value, Mapping):
        return number_from("threshold", value)
    for name in value:
        if name not in classes:
            near = suggestion(name, classes) if isinstance(name, str) else ""
            raise UsageError(
                f"the thresholds name the class {brief(name)}, which the bundle does not know{near}; its "
                f"classes are {', '.join(classes[:20])}{', ...' if len(classes) > 20 else ''}"
            )
    if not value:
        return limit
    before = limit if isinstance(limit, tuple) else (limit,) * len(classes)
    return tuple(
        number_from(f"the threshold of {name}", value[name]) if name in value else old
        for name, old in zip(classes, before, strict=True)
    )
