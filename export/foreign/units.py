"""Mean and standard deviation as people give them: of values in 0..1, or of values in 0..255."""

from typing import Literal, NamedTuple

from edgeosr.errors import UsageError

Triple = tuple[float, float, float]
Unit = Literal["0..1", "0..255", "either"]
# No mean or deviation of values in 0..1 is larger than 1; one of values in 0..255 is hardly ever below 2.
_LARGEST_OF_ONE, _LEAST_LARGEST_OF_255 = 1.0, 2.0


class OfOne(NamedTuple):
    """Mean and std of values in 0..1, None where none was given; and what to tell the user, if anything."""

    mean: Triple | None
    std: Triple | None
    note: str


def of_one(mean: Triple | None, std: Triple | None, *, beside_preset: bool) -> OfOne:
    """Bring what was typed to values in 0..1.

    Zeros and ones fit either: a mean of 0 is 0 of both, and a std of 1 beside a mean of 0..255 divides
    nothing.

    Args:
        mean: as typed, in the model's channel order; None if not given.
        std: as typed, like ``mean``.
        beside_preset: a preset or a file gives the one that is missing.

    Raises:
        UsageError: one is of 0..1 and the other of 0..255, or nobody can tell of what it is.
    """
    units = (_unit("--mean", mean, 0.0), _unit("--std", std, 1.0))
    if "0..255" not in units:
        return OfOne(mean, std, "")
    if "0..1" in units:
        raise UsageError(
            "--mean and --std must both be of values in 0..1, or both of values in 0..255; got "
            f"{_typed(mean, std)}, one of each; write --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225, or "
            "--mean 123.675 116.28 103.53 --std 58.395 57.12 57.375; a factor such as 0.017 is 1 / std"
        )
    if (mean is None or std is None) and not beside_preset:
        missing, usual = ("--mean", "--mean 0 0 0") if mean is None else ("--std", "--std 1 1 1")
        raise UsageError(
            f"{missing} must be given too, because the other is of values in 0..255; got "
            f"{_typed(mean, std)}; if the model's own code has none, add {usual}; for ImageNet's write "
            "--preprocessing imagenet"
        )
    scaled = OfOne(_divided(mean), _divided(std), "")
    note = f"{_typed(mean, std)}: taken as of values in 0..255; in 0..1: {_typed(scaled.mean, scaled.std)}"
    return scaled._replace(note=note)


def _unit(option: str, values: Triple | None, neutral: float) -> Unit:
    if values is None or all(value == neutral for value in values):
        return "either"
    sizes = [abs(value) for value in values]
    if max(sizes) <= _LARGEST_OF_ONE:
        return "0..1"
    if max(sizes) >= _LEAST_LARGEST_OF_255 and all(size >= 1 or size == 0 for size in sizes):
        return "0..255"
    raise UsageError(
        f"{option} must be of values in 0..1 (none above 1) or of values in 0..255; got {_words(values)}, "
        "which is neither; look it up in the model's own preprocessing"
    )


def _divided(values: Triple | None) -> Triple | None:
    return None if values is None else (values[0] / 255, values[1] / 255, values[2] / 255)


def _typed(mean: Triple | None, std: Triple | None) -> str:
    given = (("--mean", mean), ("--std", std))
    return " ".join(f"{option} {_words(values)}" for option, values in given if values is not None)


def _words(values: Triple) -> str:
    return " ".join(f"{value:.6g}" for value in values)
