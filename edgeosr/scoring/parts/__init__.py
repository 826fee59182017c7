"""The registry of score parts: every module of this folder that has a ``PART``, by its name.

    part("log_jacobian").value(batch, scorer)
    carried_parts(scorer)                       # names, in the order of the parts' codes

One module a part; nothing else lists them. What a new part takes is told in CONTRIBUTING.md.
"""

import contextlib
import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from dataclasses import replace

from edgeosr.errors import require_choice
from edgeosr.scoring.part import Part, TrainFeatures
from edgeosr.scoring.scorer import Scorer


def _found() -> dict[str, Part]:
    modules = [
        importlib.import_module(f"{__name__}.{entry.name}") for entry in pkgutil.iter_modules(__path__)
    ]
    parts = [module.PART for module in modules if hasattr(module, "PART")]
    return {entry.name: entry for entry in sorted(parts, key=lambda entry: entry.code)}


_PARTS = _found()


def part_names() -> tuple[str, ...]:
    """Return the names of all parts, in the order of their codes."""
    return tuple(_PARTS)


def part(name: str) -> Part:
    """Return a part; raises UsageError for an unknown name."""
    return _PARTS[require_choice("a score part", name, _PARTS)]


def unknown_parts(names: Iterable[str]) -> list[str]:
    """Return the names that no part has."""
    return [name for name in names if name not in _PARTS]


def carried_parts(scorer: Scorer) -> tuple[str, ...]:
    """Return the names of the parts that can be computed from what the scorer holds."""
    return tuple(name for name, entry in _PARTS.items() if entry.carried_by(scorer))


def with_constants(scorer: Scorer, features: TrainFeatures) -> Scorer:
    """Return the scorer with the constants of every part that makes some from ``features``, and no others.

    The fusion stays as it is; ``carried_parts`` of the result says what it could list.
    """
    made = {name: entry.constants_from(features, scorer) for name, entry in _PARTS.items()}
    return replace(scorer, constants={name: own for name, own in made.items() if own is not None})


@contextlib.contextmanager
def registered(entry: Part) -> Iterator[None]:
    """Add a part for a while, for tests and experiments; its name and code must be new."""
    taken = {other.name for other in _PARTS.values()} | {str(other.code) for other in _PARTS.values()}
    assert not taken & {entry.name, str(entry.code)}, f"{entry.name} ({entry.code}) is taken"
    _PARTS[entry.name] = entry
    try:
        yield
    finally:
        del _PARTS[entry.name]
