"""Making the plan table: predictions from kept counts, rows of the rung's records, what is dropped."""

import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from edgeosr.bench import plan_table
from edgeosr.bench.gpu_rung import plans
from edgeosr.bench.gpu_rung.step_report import StepReport
from edgeosr.bench.kernel_counts import counts_of_source, row_name
from edgeosr.bench.plan_rows import (
    BATCHES,
    SHAPES,
    batches_alike,
    best_row,
    dimensions_alike,
    positions_alike,
    tiling_of,
    variants,
)
from edgeosr.bench.plan_table import DEVICES, main, measured_rows, merged
from edgeosr.errors import UsageError
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.counting.counts import LaunchCounts
from edgeosr.kernels.packing import PackedScorer, pack_scorer
from edgeosr.kernels.plan import LaunchPlan, MapShape, plan_launch
from edgeosr.kernels.plan_table import (
    FILE,
    PREDICTED,
    PlanRow,
    PlanTable,
    inc_text,
    plan_table_text,
    read_plan_table,
)
from edgeosr.kernels.selftest.cases import SelftestCase, case_scorer
from edgeosr.kernels.sharing import Tiling, cluster_of, cut_of

ROW = PlanRow(
    architecture="sm_90",
    multiprocessors=132,
    weights="fp16",
    dimension=(481, 512),
    positions=(33, 64),
    batch=(9, 16),
    slabs=16,
    samples=4,
    class_warps=0,
    origin="measured on a card",
    us=19.5,
    rule_us=20.0,
)
DIGEST = device_source().digest
SMALL = SelftestCase(dimension=64, batch=16, size=2)


@pytest.fixture(scope="module")
def packed() -> PackedScorer:
    return pack_scorer(case_scorer(SMALL), half=True)


def record(
    *rows: dict[str, Any],
    made_up: str = "",
    source: str = DIGEST,
    outcome: str = "passed",
    failures: tuple[str, ...] = (),
) -> dict[str, Any]:
    figures = {"source": source, "rows": [{"row": row} for row in rows]}
    step = {"name": "plans", "outcome": outcome, "figures": figures, "failures": list(failures)}
    return {"made_up": made_up, "steps": [step]}


def row_of(packed: PackedScorer, us: dict[tuple[int, int], float]) -> PlanRow:
    ruled = plan_launch(packed, MapShape(height=2, width=2), 16, multiprocessors=132)
    times = dict.fromkeys(variants(packed, 16), 30.0)
    times.update({Tiling(origin="tried", samples=one, class_warps=own): v for (one, own), v in us.items()})
    assert tiling_of(ruled) in times
    return best_row(
        ruled, times, architecture="sm_90", multiprocessors=132, half=True, origin="measured on X"
    )


def test_the_fastest_plan_is_the_row_s_unless_it_is_no_faster_than_noise(packed: PackedScorer) -> None:
    rule = (1, 4)  # 64 channels are 4 slabs: 16 tiles of one sample fit 132 multiprocessors
    best = row_of(packed, {rule: 20.0, (4, 0): 19.0})
    assert (best.samples, best.class_warps, best.us, best.rule_us, best.slabs) == (4, 0, 19.0, 20.0, 4)
    assert (best.batch, best.dimension, best.positions) == ((9, 16), (49, 64), (1, 31))
    assert best.weights == "fp16"
    kept = row_of(packed, {rule: 20.0, (4, 0): 19.7})
    assert ((kept.samples, kept.class_warps), kept.us) == (rule, 20.0)


def test_every_plan_that_a_row_may_hold_is_tried(packed: PackedScorer) -> None:
    assert [(one.samples, one.class_warps) for one in variants(packed, 2)] == [(1, 0), (1, 4), (2, 0), (2, 4)]
    assert len(variants(packed, 16)) == 8
    many = replace(packed, classes=65)  # no warps of their own
    assert [(one.samples, one.class_warps) for one in variants(many, 16)] == [(1, 0), (2, 0), (4, 0), (8, 0)]
    assert [one.samples for one in variants(replace(packed, half=False), 16)] == [1, 2, 4]


def lone(packed: PackedScorer, positions: int, batch: int, row: PlanRow) -> LaunchPlan:
    shape = MapShape(height=1, width=positions)
    return plan_launch(
        packed, shape, batch, multiprocessors=132, architecture=row.architecture, table=PlanTable((row,))
    )


@pytest.mark.parametrize("shape", SHAPES, ids=row_name)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("architecture", ["sm_87", "sm_90"], ids=["alone", "clusters"])
def test_a_row_is_taken_at_both_ends_of_its_ranges_and_not_beyond(
    shape: SelftestCase, batch: int, architecture: str, packed: PackedScorer
) -> None:
    sized = replace(packed, dimension=shape.dimension)
    asked = {"multiprocessors": 132, "architecture": architecture}
    ruled = plan_launch(
        sized, MapShape(height=shape.size, width=shape.size), batch, **asked, table=PlanTable()
    )
    tried = variants(sized, batch, ruled.cluster)
    times = {one: 20.0 - one.samples for one in tried}  # the largest tiles win
    row = best_row(ruled, times, **asked, half=True, origin="measured on X")
    for dimension, positions, size in itertools.product(row.dimension, row.positions, row.batch):
        got = lone(replace(packed, dimension=dimension), positions, size, row)
        assert got.origin == "table, measured on X" and got.params.slabs == row.slabs
        assert (got.params.words == ruled.params.words) and got.tile == row.samples
    (least, most), (few, many), (first, last) = row.dimension, row.positions, row.batch
    assert least <= shape.dimension <= most and few <= shape.size**2 <= many and first <= batch == last
    for dimension in (least - 1, most + 1):
        got = lone(replace(packed, dimension=dimension), few, batch, row)
        assert got.origin == "rule" and "no row of this shape" in got.why


def test_a_row_of_clusters_is_of_their_slabs_and_is_taken_there(packed: PackedScorer) -> None:
    shape = MapShape(height=2, width=2)
    ruled = plan_launch(packed, shape, 16, multiprocessors=132, architecture="sm_90", table=PlanTable())
    tried = variants(packed, 16, ruled.cluster)
    assert ruled.cluster == 8 and tiling_of(ruled) in tried
    assert [(one.samples, one.class_warps) for one in tried] == [(1, 0), (2, 0), (4, 0), (8, 0)]
    times = {one: 20.0 - one.samples for one in tried}
    row = best_row(ruled, times, architecture="sm_90", multiprocessors=132, half=True, origin="measured on X")
    assert (row.slabs, row.samples, row.class_warps, row.dimension) == (8, 8, 0, (1, 128))
    for dimension in row.dimension:
        got = lone(replace(packed, dimension=dimension), 4, 16, row)
        assert (got.origin, got.cluster, got.tile) == ("table, measured on X", 8, 8)
    assert "no row of this shape" in lone(replace(packed, half=False), 4, 16, row).why


def test_the_batches_measured_leave_no_batch_between_them_without_a_row() -> None:
    taken = [one for batch in BATCHES for one in range(batches_alike(batch)[0], batches_alike(batch)[1] + 1)]
    assert taken == list(range(1, max(BATCHES) + 1))


@pytest.mark.parametrize("cluster", [1, 8])
@pytest.mark.parametrize("rows", [1, 528, 2000, 4000])
def test_each_dimension_stands_among_those_that_are_cut_alike(rows: int, cluster: int) -> None:
    def cut(dimension: int) -> tuple[int, int]:
        return cut_of(dimension, rows, cluster)

    ends = {dimensions_alike(one, rows, cluster) for one in range(1, 2049, 13)}
    assert all(cut(least) == cut(most) for least, most in ends)
    assert all(cut(most + 1) != cut(most) for _, most in ends if most < 2048)
    assert all(cut(least - 1) != cut(least) for least, _ in ends if least > 1)


def test_positions_are_told_apart_where_the_kernel_does() -> None:
    spans = [positions_alike(one) for one in range(257)]
    assert all(least <= one <= most for one, (least, most) in enumerate(spans))
    assert list(dict.fromkeys(spans))[:4] == [(0, 0), (1, 31), (32, 64), (65, 96)]
    assert spans[256] == (225, 256)


@pytest.fixture
def counted(packed: PackedScorer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Nothing is compiled: each launch has the counts of the first; those of tiles of 2 are a tenth."""
    kept = counts_of_source(DIGEST, "sm_87", 8)  # without clusters: every device has its waits
    whole = next(iter(kept.values()))
    tenth = [{**phase, "busiest": phase["busiest"] // 10} for phase in whole.as_record()]
    seen: list[str] = []

    def count(self: plan_table.Counts, architecture: str, case: SelftestCase, tiling: Tiling) -> LaunchCounts:
        seen.append(f"{architecture} {row_name(case)} {tiling.samples}")
        return plan_table.counts_from_record(tenth) if tiling.samples == 2 else whole

    monkeypatch.setattr(plan_table.Counts, "_counted", count)
    # Of the scorers only the sizes matter.
    monkeypatch.setattr(plan_table, "case_scorer", lambda case: case)
    monkeypatch.setattr(
        plan_table, "pack_scorer", lambda case, half: replace(packed, dimension=case.dimension)
    )
    return seen


def made(tmp_path: Path, *words: str) -> tuple[int, tuple[PlanRow, ...]]:
    file = tmp_path / "plan_table.json"
    code = main(["--counts", str(tmp_path / "counts"), *words], file=file, folder=tmp_path)
    source, rows = read_plan_table(file.read_text("utf-8"))
    assert source == DIGEST
    assert (tmp_path / "plan_table.inc").read_text("utf-8") == inc_text(PlanTable(rows))
    return code, rows


def test_predicted_rows_are_made_for_every_device_and_counts_are_kept(
    tmp_path: Path, counted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan_table.json").write_text(plan_table_text(DIGEST, (ROW,)), "utf-8")
    code, rows = made(tmp_path)
    assert code == 0 and ROW in rows, "a measured row of this source stays"
    predicted = [row for row in rows if row.origin == PREDICTED]
    assert len(predicted) == len(rows) - 1 == len(DEVICES) * 2 * 2
    assert {row.samples for row in predicted} == {2} and any(row.us < row.rule_us for row in predicted)
    # Two devices of one architecture share what was counted.
    assert len(counted) == len(set(counted)) == 3 * 2 * 2 * 4
    assert capsys.readouterr().out.endswith(
        "plan_table.json: 1 rows measured, which decide; 16 predicted, which do not\n"
    )
    counted.clear()
    assert made(tmp_path, "--seconds", "0")[1] == rows and not counted


def test_a_run_whose_time_is_up_writes_the_rows_that_are_whole(
    tmp_path: Path, counted: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert made(tmp_path, "--seconds", "0") == (0, ()) and not counted
    assert "the time is up: 64 launches were not counted; run it again" in capsys.readouterr().out
    older = replace(ROW, origin=PREDICTED)
    (tmp_path / "plan_table.json").write_text(plan_table_text(DIGEST, (older,)), "utf-8")
    assert made(tmp_path, "--seconds", "0") == (0, (older,)), "what an earlier run predicted stays"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        pytest.param("[" * 100_000, id="deep"),
        "[1]",
        '{"a launch": [3]}',
        '{"a launch": [{"phase": "one"}]}',
    ],
)
def test_counts_that_are_damaged_are_named(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"counts-{DIGEST[:16]}.json"
    path.write_text(text, "utf-8")
    assert main(["--counts", str(tmp_path)], file=tmp_path / "plan_table.json", folder=tmp_path) == 2
    assert f"error: {path} must be counts of an earlier run" in capsys.readouterr().err


def test_rows_of_another_source_and_a_damaged_table_are_dropped_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plan_table.json"
    path.write_text(plan_table_text("0" * 64, (ROW,)), "utf-8")
    assert made(tmp_path, "--keep") == (0, ())
    assert "is of the kernel source 000000000000: nothing of it is kept" in capsys.readouterr().err
    path.write_text("{", "utf-8")
    assert made(tmp_path, "--keep") == (0, ())
    assert "nothing is kept of plan_table.json: the plan table is damaged" in capsys.readouterr().err
    path.write_bytes(b"\xff\xfe\x00")
    assert made(tmp_path, "--keep") == (0, ())
    assert "nothing is kept of plan_table.json: 'utf-8' codec" in capsys.readouterr().err


def test_keeping_predicts_nothing_and_drops_nothing(tmp_path: Path) -> None:
    rows = merged((ROW, replace(ROW, origin=PREDICTED)))
    (tmp_path / "plan_table.json").write_text(plan_table_text(DIGEST, rows), "utf-8")
    assert made(tmp_path, "--keep") == (0, rows)


def test_a_record_s_rows_take_the_place_of_older_ones(tmp_path: Path) -> None:
    (tmp_path / "plan_table.json").write_text(plan_table_text(DIGEST, (ROW,)), "utf-8")
    newer = replace(ROW, samples=2, us=18.0)
    (tmp_path / "gpu.json").write_text(json.dumps(record(asdict(newer))), "utf-8")
    code, rows = made(tmp_path, "--keep", "--measured", str(tmp_path / "gpu.json"))
    assert code == 0 and rows == (newer,)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "must be one of the hardware rung with its step plans"),
        ({"steps": [], "made_up": ""}, "must be one of the hardware rung with its step plans"),
        (record(asdict(ROW), made_up="of doubles"), "must be measured on a card; this record is of doubles"),
        (
            record(asdict(ROW), source="1" * 64),
            "must be of the kernel source .* the record is of 111111111111",
        ),
        (
            record(asdict(ROW), outcome="failed", failures=("B 8: the bits depend on the plan",)),
            "got one that ended 'failed': 'B 8: the bits depend on the plan'; mend that",
        ),
        (record(asdict(ROW), outcome="interrupted", failures=("bits",)), "ended 'interrupted': 'bits'; mend"),
        (
            record(asdict(ROW), outcome="failed"),
            "step that has not failed; got one that ended 'failed'; mend",
        ),
        (record({**asdict(ROW), "samples": 5}), "samples must be one of 1, 2, 4, 8; got 5"),
    ],
)
def test_a_record_that_is_not_of_a_card_and_this_source_is_refused(found: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        measured_rows(found)


@pytest.mark.parametrize("outcome", ["passed", "out of time", "cut short", "interrupted"])
def test_the_whole_rows_of_a_step_whose_time_was_up_are_taken(outcome: str) -> None:
    assert measured_rows(record(asdict(ROW), outcome=outcome)) == (ROW,)


def test_a_file_that_is_no_record_ends_the_command_in_words_and_leaves_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plan_table.json").write_text(plan_table_text(DIGEST, (ROW,)), "utf-8")
    (tmp_path / "plan_table.inc").write_text(inc_text(PlanTable((ROW,))), "utf-8")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "deep.json").write_text("[" * 100_000, "utf-8")
    for name in ("none.json", "plan_table.inc", "bytes.json", "deep.json"):
        path = tmp_path / name
        code, rows = made(tmp_path, "--keep", "--measured", str(path))
        assert code == 2 and rows == (ROW,)
        assert f"error: {path} must be a record of the rung" in capsys.readouterr().err


def test_the_table_that_ships_is_of_this_source_with_true_ranges_and_no_row_twice(
    packed: PackedScorer,
) -> None:
    source, rows = read_plan_table(FILE.read_text("utf-8"))
    assert source == DIGEST, "the kernel was changed: python -m edgeosr.bench.plan_table"
    for row in rows:
        cluster = cluster_of(replace(packed, half=row.weights == "fp16"), row.architecture)
        (_, slabs), *others = {cut_of(one, packed.rows, cluster) for one in row.dimension}
        assert not others and slabs == row.slabs, row
    assert merged(rows) == rows, "made by hand? python -m edgeosr.bench.plan_table --keep"


@pytest.mark.parametrize(
    ("target", "plans_tried", "rule", "slabs"),
    [("sm_87", 8, "tiles of 1, 4 class warps", 4), ("sm_90", 4, "tiles of 2, 0 class warps", 8)],
)
def test_plans_whose_verdicts_differ_fail_the_step(
    target: str, plans_tried: int, rule: str, slabs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With clusters, which have eight slabs whatever D, and no choice of warps."""
    device: Any = type("D", (), {"multiprocessors": 132, "target": target, "name": "a card"})()
    for kinds, failures in ((1, 0), (2, 1)):
        monkeypatch.setattr(plans, "_times", lambda *case, kinds=kinds: (dict.fromkeys(case[3], 20.0), kinds))
        report = StepReport(None)
        found = plans._row(report, None, device, SMALL, case_scorer(SMALL), plans.Timed(1, 0))  # type: ignore[arg-type]  # no driver
        assert len(report.failures) == failures and len(found["us"]) == plans_tried
        assert found["row"]["origin"] == "measured on a card"
        assert (found["rule"], found["row"]["slabs"]) == (rule, slabs)
