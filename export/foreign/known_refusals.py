"""What is said of a deployed model that its known images speak against: what was found, and what to type."""

from collections.abc import Sequence
from shlex import quote

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import DataError, ExportError
from edgeosr.export.foreign.advice import advice_for
from edgeosr.export.foreign.agreement import LEAST_ALIKE, Agreement
from edgeosr.export.foreign.alternatives import Alternative, Found
from edgeosr.export.foreign.class_order import ClassOrder, Doubt
from edgeosr.export.foreign.joint import Joint
from edgeosr.export.settings import ExportSettings

ACCEPT = "--accept-weak-classes exports it all the same"
_NAMED = 6


def accepted(problem: DataError | ExportError) -> str:
    """Return the warning that a refusal becomes where it is exported all the same."""
    return str(problem).replace(f"; {ACCEPT}", "")


def wrong_preprocessing(start: str, found: Found, settings: ExportSettings, close: str) -> DataError:
    """Refuse a preprocessing: another one is clearly more accurate."""
    others = [str(advice_for(other, settings)) for other in found.as_good]
    alike = f" (as good: {'; or '.join(others)})" if others else ""
    one = found.alternative
    return DataError(
        f"{start} as it is preprocessed now, and {found.right.mean():.1%} with another preprocessing, "
        f"{one.title}; write {advice_for(one, settings)}{alike}{close}; {ACCEPT}"
    )


def wrong_order(start: str, order: ClassOrder, then: str, named: str) -> DataError:
    """Refuse an order of the names: another one is clearly right."""
    called = f" ({order.called})" if order.called else ""
    turned = ""
    if len(order.names) == 2:  # of two, the smaller one is what the other order makes the larger one
        turned = "; if the smaller of its values is the better one, export the model with a minus before them"
    if order.imageless and not order.called:
        shown = _listed([repr(name) for name in order.imageless])
        turned += f"; or else it takes the images of a class for {shown}, of which there are none to look at"
    return DataError(
        f"{start}, because the class names, {named}, stand in another order than the model's outputs: with "
        f"{order.moved} names moved{called} it names {order.right.mean():.1%} correctly; write "
        f"{known_line(order.names)}{then}; {ACCEPT}{turned}"
    )


def both_wrong(start: str, joint: Joint, settings: ExportSettings) -> DataError:
    """Refuse both: only another preprocessing shows which order is right. Others as good are told."""
    lines = [_both_line(one, order, settings) for one, order in joint.found]
    alike = f" (as good: {'; or '.join(lines[1:])})" if lines[1:] else ""
    few = "" if joint.clear else " (on too few images to be sure)"
    share = joint.found[0][1].right.mean()
    return DataError(
        f"{start}, and {share:.1%} with another preprocessing and another order of the class names{few}; "
        f"write {lines[0]}{alike}; {ACCEPT}"
    )


def with_open(problem: DataError, joint: Joint | None, settings: ExportSettings) -> DataError:
    """Add what may be right instead, another preprocessing with another order, if anything is."""
    if joint is None:
        return problem
    one, order = joint.found[0]
    share = f"{order.right.mean():.1%} (on too few images to be sure)"
    instead = f"or {_both_line(one, order, settings)}, with which it names {share}"
    return DataError(str(problem).replace(f"; {ACCEPT}", f"; {instead}; {ACCEPT}"))


def _both_line(one: Alternative, order: ClassOrder, settings: ExportSettings) -> str:
    return f"{advice_for(one, settings)} and {known_line(order.names)}"


def by_chance(start: str, classes: int, named: str, grey: bool) -> DataError:
    """Refuse a model that is right hardly more often than by chance."""
    color = "" if grey else ", --color"
    return DataError(
        f"{start}, hardly more than by chance with {classes} classes; check the class order ({named}; "
        f"--known states another) and the preprocessing (--preprocessing, --mean, --std{color}); {ACCEPT}"
    )


def weak(
    weak: list[int], counts: NDArray[np.int64], names: tuple[str, ...], doubt: Doubt | None
) -> DataError:
    """Refuse classes that are not named clearly more often than by chance."""
    images = counts.sum(axis=1)
    shown = _listed([f"{names[one]!r} ({counts[one, one]} of {images[one]} images)" for one in weak])
    moved = "" if doubt is None else f", with {_moved(doubt, names)} ({known_line(doubt.names)})"
    return DataError(
        f"the model does not name {len(weak)} of {len(names)} classes clearly more often than by chance: "
        f"{shown}{moved}; check that these folders hold what the model calls so (--known), and the "
        f"preprocessing; {ACCEPT}"
    )


def in_doubt(start: str, doubt: Doubt, names: tuple[str, ...]) -> DataError:
    """Refuse names that may stand in another order."""
    return DataError(
        f"{start}, and the order of the class names is not proven: with {_moved(doubt, names)}; if "
        f"that is the order of its outputs, write {known_line(doubt.names)}; {ACCEPT}"
    )


def _moved(doubt: Doubt, names: tuple[str, ...]) -> str:
    exchanged = "exchanged" if len(doubt.classes) == 2 else "moved"
    which = _listed([repr(names[label]) for label in doubt.classes])
    return f"{which} {exchanged} it names {doubt.moved} of their images correctly, not {doubt.own}"


def _listed(shown: list[str]) -> str:
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return ", ".join(shown[:_NAMED]) + more


def another_model(agreement: Agreement) -> ExportError:
    """Refuse an exported graph that answers like another model."""
    return ExportError(
        f"the exported graph is not this model: at least {LEAST_ALIKE:.0%} of {agreement.images} known "
        "images must get the same class from both, preprocessed as stated; got "
        f"{agreement.equal_labels:.1%}; export the ONNX file again with a fixed image "
        f"size and without control flow, and report it to edgeosr if that does not help; {ACCEPT}"
    )


def known_line(names: Sequence[str]) -> str:
    """Return the option that states these names in this order, to be copied into a shell."""
    if any("," in name or name != name.strip() for name in names):
        listed = " ".join(quote(name) for name in names)
        return f"--known-file reordered-classes.txt after printf '%s\\n' {listed} > reordered-classes.txt"
    return f"--known {quote(','.join(names))}"
