"""What to type for another preprocessing in a command that states one already.

A command's options mean different things beside each other: a file states the values, the cut and the filter
at once, and a preset leaves the cut alone. So each way to write it is read as the command would read it, and
the first one that means what is wanted is taken.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from shlex import quote
from typing import Any

from edgeosr.errors import EdgeosrError
from edgeosr.export.foreign.alternatives import Alternative, same_cut, same_values
from edgeosr.export.foreign.presets import MAIN, Triple
from edgeosr.export.foreign.stated import resized_side, stated_preprocessing
from edgeosr.export.settings import ExportSettings
from edgeosr.preprocessing import Preprocessing

_VALUES, _CUT = ("preprocessing", "color", "mean", "std"), ("fit", "resize", "crop_fraction")
_OPTIONS = (*_VALUES, *_CUT, "resampling")
_USUAL_SHARE = 0.875

# Settings by name; None takes an option out of the command.
Changes = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Options to write, and options of the command that they stand for.

    Attributes:
        options: to be written, as in a shell.
        in_place_of: options that are to be taken out; those that ``options`` writes anew with their values
            of now, lest it read as if an option were to stand in place of itself.
    """

    options: str
    in_place_of: tuple[str, ...]

    def __str__(self) -> str:
        """Return it for the middle of a sentence."""
        return (
            f"{self.options} in place of {', '.join(self.in_place_of)}" if self.in_place_of else self.options
        )


def advice_for(alternative: Alternative, settings: ExportSettings) -> Advice:
    """Return what to type so that the command states the alternative, and resizes with the same filter."""
    wanted = alternative.preprocessing
    size = (wanted.height, wanted.width)
    before = stated_preprocessing(settings, *size)
    filters: list[Changes] = [{}, {"resampling": before.resampling}]
    for changes in product(_value_changes(wanted, settings), _cut_changes(wanted), filters):
        merged = {name: value for part in changes for name, value in part.items()}
        try:
            found = stated_preprocessing(replace(settings, **merged), *size)
        except EdgeosrError:  # these do not fit together
            continue
        one = found.preprocessing
        if same_values(one, wanted) and same_cut(one, wanted) and found.resampling == before.resampling:
            return _advice(merged, settings)
    return _in_place(alternative.options.split(), settings, _OPTIONS)


def _value_changes(wanted: Preprocessing, settings: ExportSettings) -> Iterator[Changes]:
    """Yield ways to state the values: as they are, their file in another colour order, by name, numbers."""
    yield {}
    if settings.preprocessing is not None and settings.mean is None and settings.std is None:
        yield {"color": wanted.color}
    nothing = dict.fromkeys(_VALUES)
    for name, preset in MAIN.items():
        if same_values(replace(wanted, mean=preset.mean, std=preset.std), wanted):
            color = None if wanted.color == preset.color else wanted.color
            yield {**nothing, "preprocessing": name, "color": color}
    mean, std = (_typed(values, wanted) for values in (wanted.mean, wanted.std))
    yield {**nothing, "color": wanted.color, "mean": mean, "std": std}


def _typed(values: Triple, wanted: Preprocessing) -> Triple:
    first, second, third = (float(f"{value:.6g}") for value in values)
    return (first, second, third) if wanted.color == "rgb" else (third, second, first)


def _cut_changes(wanted: Preprocessing) -> Iterator[Changes]:
    """Yield ways to state the cut: as it is, by its fit alone, by a share, in pixels."""
    yield {}
    fit: Changes = {"fit": wanted.fit, "resize": None, "crop_fraction": None}
    yield fit
    if wanted.resize_to == resized_side(wanted.height, _USUAL_SHARE):
        yield {**fit, "crop_fraction": _USUAL_SHARE}
    if wanted.resize_to is not None:
        yield {**fit, "resize": wanted.resize_to}
    yield {**fit, "crop_fraction": wanted.crop_fraction}


def _advice(changes: Changes, settings: ExportSettings) -> Advice:
    words = []
    for name in _OPTIONS:
        if changes.get(name) is not None:
            words += _spelled(name, changes[name])
    return _in_place(words, settings, changes)


def _in_place(words: list[str], settings: ExportSettings, changed: "Changes | tuple[str, ...]") -> Advice:
    taken = []
    for name in ("preprocessing", "mean", "std", "color", *_CUT, "resampling"):
        value = getattr(settings, name)
        if name in changed and value is not None:
            spelled = _spelled(name, value)
            taken.append(" ".join(spelled) if spelled[0] in words else spelled[0])
    return Advice(options=" ".join(words), in_place_of=tuple(taken))


def _spelled(name: str, value: Any) -> list[str]:
    values = value if isinstance(value, tuple | list) else (value,)
    shown = (f"{one:.6g}" if isinstance(one, float) else quote(str(one)) for one in values)
    return [_option(name), *shown]


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
