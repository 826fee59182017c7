"""The plan table: which rows decide, what is said where none does, and what a damaged one is told."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from test_plan import a_packed

from edgeosr.errors import UsageError
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.plan import LaunchPlan, MapShape, TangentShape, plan_launch
from edgeosr.kernels.plan_table import (
    FILE,
    PREDICTED,
    PlanRow,
    PlanTable,
    installed_table,
    plan_table_text,
    read_plan_table,
    usable_table,
)

ROW = PlanRow(
    architecture="sm_89",
    multiprocessors=132,
    weights="fp16",
    dimension=(481, 512),
    positions=(33, 64),
    batch=(9, 16),
    slabs=16,
    samples=4,
    class_warps=0,
    origin="measured on NVIDIA H100",
    us=19.5,
    rule_us=20.0,
)
DIGEST = "0" * 64


def planned(
    *rows: PlanRow,
    batch: int = 16,
    height: int = 7,
    multiprocessors: int = 132,
    architecture: str = "sm_89",
    **scorer: Any,
) -> LaunchPlan:
    return plan_launch(
        a_packed(**scorer),
        MapShape(height=height, width=7),
        batch,
        multiprocessors=multiprocessors,
        architecture=architecture,
        table=PlanTable(rows),
    )


def test_a_measured_row_decides_and_is_named() -> None:
    got = planned(ROW)
    assert (got.tile, got.params.class_warps, got.blocks) == (4, 0, 4 * 16)
    assert got.origin == "table, measured on NVIDIA H100"
    assert got.described == (
        "tiles of 4: table, measured on NVIDIA H100 (19.5 us there, 20 with the rule's plan)"
    )


def test_a_predicted_row_decides_nothing_and_that_is_said() -> None:
    got = planned(replace(ROW, origin=PREDICTED))
    assert (got.tile, got.params.class_warps, got.origin) == (2, 4, "rule")
    assert got.why == "the plan table only predicts tiles of 4 here, and what is predicted decides nothing"
    assert planned(replace(ROW, origin=PREDICTED), ROW).origin == "table, measured on NVIDIA H100"


@pytest.mark.parametrize(
    "change",
    [
        {"batch": 8},
        {"batch": 17},
        {"height": 10},
        {"height": 4},
        {"dimension": 513},
        {"dimension": 480},
        {"half": False},
        {"multiprocessors": 131},
        {"architecture": "sm_87"},
        {"classes": 2000},  # fewer, wider slabs
    ],
)
def test_a_row_is_of_its_device_and_shapes_only(change: dict[str, Any]) -> None:
    assert planned(ROW).origin != "rule"
    got = planned(ROW, **change)
    assert got.origin == "rule" and got.why.startswith("the plan table has no row of this shape on sm_")


@pytest.mark.parametrize(
    "change", [{"dimension": 481}, {"dimension": 512}, {"batch": 9}, {"height": 5}, {"height": 9}], ids=str
)
def test_a_row_holds_up_to_its_ends(change: dict[str, Any]) -> None:
    assert planned(ROW, **change).origin == "table, measured on NVIDIA H100"


def test_a_row_without_positions_is_of_embeddings() -> None:
    row = replace(ROW, positions=(0, 0))
    packed, shape = a_packed(probes=8), TangentShape(probes=8)
    got = plan_launch(packed, shape, 16, multiprocessors=132, architecture="sm_89", table=PlanTable((row,)))
    assert got.origin != "rule" and planned(row).origin == "rule"


@pytest.mark.parametrize(
    ("row", "change"),
    [
        (replace(ROW, batch=(1, 16)), {"batch": 2}),  # tiles of 4 for two samples
        (replace(ROW, weights="fp32", samples=8), {"half": False}),
        (replace(ROW, class_warps=4), {"classes": 65}),
    ],
)
def test_a_row_that_the_kernel_cannot_take_leaves_the_rule_its_place(
    row: PlanRow, change: dict[str, Any]
) -> None:
    got, ruled = planned(row, **change), planned(**change)
    assert (
        got.origin == "rule" and got.why == f"the plan table's tiles of {row.samples} do not fit this launch"
    )
    assert bytes(got.params) == bytes(ruled.params)


def test_a_row_whose_plan_needs_too_much_shared_memory_leaves_the_rule_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A sample of 16 channels is one chunk of the map; with more samples there are two halves of one each.
    row = replace(ROW, samples=8, dimension=(1, 2048), positions=(1, 256), batch=(1, 16))
    case: dict[str, Any] = {"batch": 8, "height": 36, "dimension": 256, "widths": ()}
    limit = planned(**case).shared_bytes
    monkeypatch.setattr("edgeosr.kernels.plan.MOST_SHARED_BYTES", limit)
    got = planned(row, **case)
    assert (got.tile, got.origin, got.shared_bytes) == (1, "rule", limit)
    assert got.why == "the plan table's tiles of 8 do not fit this launch"
    monkeypatch.undo()
    assert planned(row, **case).shared_bytes > limit


@pytest.mark.parametrize(("architecture", "multiprocessors"), [("", 132), ("sm_89", 0)])
def test_a_device_that_is_not_known_takes_the_rule(architecture: str, multiprocessors: int) -> None:
    got = planned(ROW, architecture=architecture, multiprocessors=multiprocessors)
    assert got.origin == "rule" and got.why == "the device's architecture or multiprocessors are not known"
    assert got.tile == (2 if multiprocessors else 8)


def test_the_table_of_another_source_is_refused_and_the_rule_taken(tmp_path: Path) -> None:
    path = tmp_path / "plan_table.json"
    path.write_text(plan_table_text(DIGEST, (ROW,)), "utf-8")
    assert usable_table(path, DIGEST) == PlanTable((ROW,), DIGEST)
    table = usable_table(path, "1" * 64)
    got = plan_launch(
        a_packed(), MapShape(height=7, width=7), 16, multiprocessors=132, architecture="sm_89", table=table
    )
    assert got.tile == 2 and got.origin == "rule"
    assert got.why == "the plan table is of the kernel source 000000000000, and this one is 111111111111"


def test_what_is_written_is_read_again() -> None:
    rows = (ROW, replace(ROW, origin=PREDICTED, weights="fp32", us=1.25))
    for kept in ((), rows):
        assert read_plan_table(plan_table_text(DIGEST, kept)) == (DIGEST, kept)


def changed(**values: Any) -> Callable[[], str]:
    return lambda: json.dumps({"version": 1, "source": DIGEST, "rows": [{**asdict(ROW), **values}]})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (lambda: "{", "JSONDecodeError"),
        (lambda: "[]", "TypeError"),
        (lambda: "[" * 100_000, "RecursionError"),
        (lambda: '{"rows": []}', "KeyError: 'version'"),
        (lambda: '{"version": 2, "source": "", "rows": []}', "version must be 1; got 2"),
        (lambda: '{"version": 1, "source": 3, "rows": []}', "source must be a digest; got 3"),
        (lambda: '{"version": 1, "source": "", "rows": [1]}', "a row must have architecture"),
        (changed(more=1), "a row must have architecture"),
        (changed(samples=3), "samples must be one of 1, 2, 4, 8; got 3"),
        (changed(samples=True), "samples must be a whole number; got True"),
        (changed(samples="4"), "samples must be a whole number; got '4'"),
        (changed(class_warps=2), "class_warps must be one of 0, 4; got 2"),
        (changed(weights="int8"), "weights must be one of fp16, fp32; got 'int8'"),
        (changed(batch=[16, 9]), "batch must be a range"),
        (changed(batch=[9]), "not enough values"),
        (changed(batch=[1.5, 9]), "batch must be a whole number; got 1.5"),
        (changed(multiprocessors=0), "multiprocessors must be from 1 to 4096; got 0"),
        (changed(multiprocessors=10**12), "multiprocessors must be from 1 to 4096; got 1000000000000"),
        (changed(slabs=17), "slabs must be from 1 to 16; got 17"),
        (changed(dimension=[481, 10**12]), "from 1 to 2048; got 481, 1000000000000"),
        (changed(dimension=[0, 512]), "from 1 to 2048; got 0, 512"),
        (changed(positions=[33, 257]), "from 0 to 256; got 33, 257"),
        (changed(batch=[0, 16]), "from 1 to 1024; got 0, 16"),
        (changed(batch=[9, 1025]), "from 1 to 1024; got 9, 1025"),
        (changed(architecture="hopper"), "architecture must be as sm_90; got 'hopper'"),
        # Python never has a device of these names, and what C++ read of them was 90.
        (changed(architecture="90"), "architecture must be as sm_90; got '90'"),
        (changed(architecture="sm_090"), "architecture must be as sm_90; got 'sm_090'"),
        (changed(architecture="sm_\u0669\u0660"), "architecture must be as sm_90; got"),
        (changed(architecture="sm_90\n"), "architecture must be as sm_90; got"),
        (changed(architecture="sm_90000000000"), "architecture must be as sm_90; got"),
        (changed(architecture=90), "architecture must be a string; got 90"),
        (changed(origin="measured on "), "origin must be"),
        (changed(origin="measured on " + "x" * 200), "origin must be"),
        (changed(origin="measured on a\nb"), "origin must be"),
        (changed(origin="measured on a card \U0001f600"), "and a name in ASCII; got"),
        (changed(origin="assumed"), "origin must be"),
        (changed(us=float("nan")), "us and rule_us must be microseconds above 0"),
        (changed(us=float("inf")), "us and rule_us must be microseconds above 0"),
        (changed(us=10**400), "us and rule_us must be microseconds above 0"),
        (changed(rule_us=10**400), "us and rule_us must be microseconds above 0"),
        (changed(us="20"), "us must be a number; got '20'"),
    ],
)
def test_a_damaged_table_is_refused_in_words_and_the_rule_taken(
    text: Callable[[], str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"the plan table is damaged .* make it again: python -m") as caught:
        read_plan_table(text())
    assert words in str(caught.value)
    path = tmp_path / "plan_table.json"
    path.write_text(text(), "utf-8")
    table = usable_table(path, DIGEST)
    got = plan_launch(
        a_packed(), MapShape(height=7, width=7), 16, multiprocessors=132, architecture="sm_89", table=table
    )
    assert (got.tile, got.origin) == (2, "rule") and words in got.why


def test_a_table_that_is_not_there_or_no_text_leaves_the_rule(tmp_path: Path) -> None:
    assert "cannot be read" in usable_table(tmp_path / "none.json", DIGEST).refused
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in usable_table(tmp_path / "bytes", DIGEST).refused


def test_the_table_that_ships_can_be_read_and_is_the_default() -> None:
    read_plan_table(FILE.read_text("utf-8"))
    assert installed_table() == usable_table(FILE, device_source().digest)
    shape = MapShape(height=7, width=7)
    got, want = (
        plan_launch(a_packed(), shape, 16, multiprocessors=132, architecture="sm_89", table=table)
        for table in (None, installed_table())
    )
    assert (got.origin, got.why, got.tile) == (want.origin, want.why, want.tile)
