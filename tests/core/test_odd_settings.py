"""Settings take their own types alone; whatever else comes is a UsageError that says what came."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeosr.bench.demo import DemoSettings
from edgeosr.bench.quality import QualitySettings
from edgeosr.bench.settings import LatencySettings
from edgeosr.errors import EdgeosrError, StorageError, UsageError
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


class Unshown:
    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")


class UnshownNumber(float):
    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")


PATHS = [
    (kind, field.name)
    for kind in (*KINDS, LatencySettings, DemoSettings)
    for field in dataclasses.fields(kind)
    if field.name in ("data_root", "out", "known_file", "run")
]
NEVER = [
    b"1",
    [None],
    {"a": 1},
    1 + 2j,
    np.array([1, 2]),
    np.bool_(True),
    object(),
    Unequal(),
    Unshown(),
    "\x1b[31m\0",
]


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
        except EdgeosrError as error:  # a path may be longer than any name
            assert len(str(error)) < 20_000


@pytest.mark.parametrize(("kind", "name"), FIELDS, ids=lambda one: getattr(one, "__name__", one))
def test_a_number_that_cannot_be_shown_is_taken_or_refused_in_words(kind: type, name: str) -> None:
    for value in (UnshownNumber(-7.5), UnshownNumber("nan"), (UnshownNumber(-7.5),) * 3):
        try:
            kind(**{**KINDS[kind], name: value})
        except UsageError as error:
            assert "got" in str(error) or "needs" in str(error) or "only mean" in str(error)


@pytest.mark.parametrize(("kind", "name"), PATHS, ids=lambda one: getattr(one, "__name__", one))
def test_a_path_may_be_given_as_a_text_and_is_kept_as_a_path(kind: type, name: str) -> None:
    for given in ("here/a.edgeosr", Path("here/a.edgeosr")):
        assert getattr(kind(**{**KINDS.get(kind, {}), name: given}), name) == Path("here/a.edgeosr")
    assert len(PATHS) == 9


@pytest.mark.parametrize(("kind", "name"), PATHS, ids=lambda one: getattr(one, "__name__", one))
def test_a_path_that_can_be_none_is_refused_before_any_work(kind: type, name: str) -> None:
    for given in ("\0.edgeosr", Path("\0.edgeosr"), "", "\ud800"):
        with pytest.raises(UsageError, match=f"{name} must be a path"):
            kind(**{**KINDS.get(kind, {}), name: given})
    with pytest.raises(StorageError, match="File name too long; check the path"):
        kind(**{**KINDS.get(kind, {}), name: Path("a" * 300 + ".edgeosr")})
