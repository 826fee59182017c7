"""Settings take their own types alone; whatever else comes is a UsageError that says what came."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeosr.bench.quality import QualitySettings
from edgeosr.errors import UsageError
from edgeosr.export.settings import ExportSettings
from edgeosr.training.settings import TrainSettings

KINDS: dict[type, dict[str, Any]] = {
    TrainSettings: {"data": "digits"},
    ExportSettings: {},
    QualitySettings: {},
}
TEXTS = (
    "data",
    "outliers",
    "watch_unknown",
    "unknown",
    "known",
    "embedding",
    "groups",
    "logits",
    "preprocessing",
)
FIELDS = [(kind, field.name) for kind in KINDS for field in dataclasses.fields(kind)]


class Unequal:
    __hash__ = None  # type: ignore[assignment]  # like an array's

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not to be compared")


NEVER = [b"1", [None], {"a": 1}, 1 + 2j, np.array([1, 2]), np.bool_(True), object(), Unequal(), "\x1b[31m\0"]


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=lambda one: getattr(one, "__name__", one))
def test_a_field_refuses_what_is_never_one(kind: type, name: str) -> None:
    for value in NEVER:
        if isinstance(value, str) and name in TEXTS:
            continue  # a text, if not of anything that is there
        with pytest.raises(UsageError, match=r"got |there are none|needs|only mean"):
            kind(**{**KINDS[kind], name: value})


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=lambda one: getattr(one, "__name__", one))
def test_a_number_beyond_every_float_is_taken_or_refused_in_words(kind: type, name: str) -> None:
    for value in (10**400, -(10**400), float("nan"), float("inf"), "x" * 9000, Path("x" * 9000)):
        try:
            kind(**{**KINDS[kind], name: value})
        except UsageError as error:
            assert len(str(error)) < 20_000
