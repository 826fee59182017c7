"""The model of time: its fit, the rows held back from it, its directions, and what it refuses."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeosr.bench import kernel_counts
from edgeosr.bench.jetson import ASSUMED, MODULES
from edgeosr.bench.kernel_counts import DEVICES, counts_of_source, key_of, row_name
from edgeosr.bench.kernel_latency import Compared, Device, compared, fit, predicted, range_by_phase, worst
from edgeosr.bench.kernel_model import WORKLOADS, floors
from edgeosr.bench.kernel_predictions import (
    MOST,
    case_of,
    counts_for,
    held_against,
    held_lines,
    held_record,
    latency_lines,
    latency_record,
    prediction,
    prediction_lines,
)
from edgeosr.bench.kernel_wavefronts import wavefronts_of
from edgeosr.bench.latency_table import (
    CARRIED,
    FITTED,
    FITTED_ON,
    MEASURED_CARRIED,
    TABLE,
    cluster_places,
    latencies_of,
)
from edgeosr.bench.phase_table import PhaseTable, measured_tables, phase_table, require_source
from edgeosr.errors import UsageError
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.counting.counts import LaunchCounts
from edgeosr.kernels.counting.timeline import CLUSTERED, NOMINAL

FILE = Path(kernel_counts.__file__).with_name("kernel_phases_h200.json")
HERE = Device(132, 1.98, cold=False)


@pytest.fixture(scope="module")
def table() -> PhaseTable:
    return phase_table(FILE)


@pytest.fixture(scope="module")
def counts(table: PhaseTable) -> dict[str, LaunchCounts]:
    return counts_of_source(table.source, table.architecture, table.multiprocessors)


@pytest.fixture(scope="module")
def rows(table: PhaseTable, counts: dict[str, LaunchCounts]) -> list[Compared]:
    return compared(table, counts, table.source, latencies_of("sm_90"))


def test_the_rows_held_back_come_out_within_the_stated_error(rows: list[Compared]) -> None:
    held = [row for row in rows if not row.fitted]
    assert len(held) == 4 and len(rows) == 9
    assert worst(rows, fitted=False) < MOST
    assert worst(rows, fitted=False) < 1.10, "docs/kernel.md says 1.07"


def test_of_one_phase_alone_the_model_is_further_off_and_says_so(rows: list[Compared]) -> None:
    row = replace(rows[0], measured=(2.0, 4.0, 5.0), predicted=(2.0, 3.0, 5.0))
    assert row.by_phase == (1.0, 0.5, 2.0) and row.error == pytest.approx(4 / 3)
    least, most = range_by_phase([row, replace(row, fitted=not row.fitted)], fitted=True)
    assert (least, most) == (0.5, 2.0)
    least, most = range_by_phase(rows, fitted=False)
    assert 0.58 < least < 0.60 and 1.41 < most < 1.43, "docs/kernel.md says 0.59 to 1.42"
    assert latency_record()["architectures"][0]["l2"]["source"] == CARRIED


def test_a_module_s_predictions_are_said_to_be_off_by_what_the_worst_of_all_cards_rows_was() -> None:
    held = [rows for _, rows in held_against()]
    error = max(worst(one, fitted=False) for one in held)
    assert latency_record()["least_error_of_one_phase_alone"] == [
        min(range_by_phase(one, fitted=False)[0] for one in held),
        max(range_by_phase(one, fitted=False)[1] for one in held),
    ]
    assert f"x {error:.2f} until the end of a phase" in latency_lines()[-1]
    assert len(held) > 1 and error > 1.2, "docs/kernel.md says that a later kernel was 1.3 times slower"


def test_of_a_kernel_after_the_fit_no_row_counts_as_fitted() -> None:
    for table, rows in held_against():
        assert any(row.fitted for row in rows) == (table.commit == FITTED_ON)
    lines = "\n".join(held_lines())
    assert "Fitted on none of these rows; all held back: x 1." in lines
    assert held_record()[0]["fitted_off_by_at_most"] is None, "an H100's, before the H200's"


def test_a_time_longer_than_a_later_phase_s_end_is_compared_with_nothing_and_marked() -> None:
    row = Compared("launch", (5.0, 6.0, 14.0, 12.0), (5.0, 6.0, 7.0, 10.0), fitted=False)
    assert row.sound == (True, True, False, True)
    assert row.error == pytest.approx(1.2)
    assert row.by_phase == pytest.approx((1.0, 1.0, 4 / 6))
    assert any("14.4? / " in line for line in held_lines())
    assert sum(line.startswith("  ?: longer than a later phase's end") for line in held_lines()) == 1


def test_the_tables_constants_are_those_fitted_on_the_other_rows_alone(
    table: PhaseTable, counts: dict[str, LaunchCounts]
) -> None:
    row = latencies_of("sm_90")
    kept = (row.launch_us, row.on_chip, row.l2, row.sync, row.slot)
    assert all(value.source == FITTED for value in kept)
    found = fit(table, counts)
    np.testing.assert_allclose(found, [value.value for value in kept], rtol=0.01)
    # Rows held back have no say: with other times in them the fit is the same.
    changed = {
        name: us if number % 2 == 0 else tuple(9 * one for one in us)
        for number, (name, us) in enumerate(table.rows.items())
    }
    np.testing.assert_array_equal(fit(replace(table, rows=changed), counts), found)


def test_an_edge_modules_cycles_say_that_they_are_the_h200s() -> None:
    of_card = latencies_of("sm_90")
    for row in TABLE:
        if row.architecture != "sm_90":
            for name in ("on_chip", "l2", "sync", "slot"):
                found = getattr(row, name)
                assert (found.value, found.source) == (getattr(of_card, name).value, CARRIED)
            assert row.launch_us.source == row.dram_us.source == ASSUMED
    printed = "\n".join(latency_lines())
    assert "[H] the H200's fit, carried over" in printed
    orin = next(line for line in printed.splitlines() if "sm_87" in line)
    assert orin.count("[H]") == 4 and "[p]" not in orin and "[f]" not in orin


def test_what_a_cluster_waits_for_has_the_cycles_that_were_measured_where_there_are_clusters() -> None:
    orin, hopper, thor = TABLE
    assert orin.mail is orin.cluster is None
    for wait in CLUSTERED:
        of_card, carried = (getattr(row, wait.name.lower()) for row in (hopper, thor))
        assert of_card.source == "measured on the H200, micro-benchmark"
        assert (carried.value, carried.source) == (of_card.value, MEASURED_CARRIED)
        assert of_card.value == NOMINAL[wait]
    lines = latency_lines()
    assert any("[M] the same, carried over" in line for line in lines)
    rows = [line for line in lines if line.startswith("  sm_")]
    assert [(row.count("[m]"), row.count("[M]")) for row in rows] == [(0, 0), (2, 0), (0, 2)]


def test_time_grows_by_mail_and_cluster_barriers_of_the_longest_chain(
    counts: dict[str, LaunchCounts],
) -> None:
    row, launch = latencies_of("sm_90"), counts["map 512 x 49 relu 3x3, B 1, fp16"]
    *before, last = launch.phases
    waits = {**last.waits, "mail": 3, "cluster": 1}
    longer = LaunchCounts((*before, replace(last, waits=waits)))
    more = predicted(longer, row, HERE).sync[-1] - predicted(launch, row, HERE).sync[-1]
    assert more == pytest.approx((3 * 532 + 147) / (HERE.clock_ghz * 1e3))
    with pytest.raises(UsageError, match="must have sm_87's cycles of a cluster's mail and barrier"):
        predicted(longer, latencies_of("sm_87"), HERE)


def test_clusters_share_multiprocessors_until_the_end_where_they_do_not_reach_all() -> None:
    """Sixteen clusters of eight on a card of which they reach 120 multiprocessors: two blocks on some."""
    counts = counts_of_source(device_source().digest, "sm_90", 132)["map 512 x 49 relu 3x3, B 64, fp16"]
    assert [phase.blocks for phase in counts.phases] == [128] * 5
    row = latencies_of("sm_90")
    shared, more = predicted(counts, row, HERE), replace(HERE, multiprocessors=136)  # 17 clusters
    apart = predicted(counts, row, more)
    assert (cluster_places(132), cluster_places(136), cluster_places(20), cluster_places(6)) == (
        120,
        136,
        16,
        8,
    )
    np.testing.assert_allclose(shared.issue, 2 * np.array(apart.issue))
    assert shared.on_chip == apart.on_chip and shared.memory == apart.memory
    # Without clusters 128 blocks are one a multiprocessor.
    waits = [{**phase.waits, "cluster": 0} for phase in counts.phases]
    alone = LaunchCounts(
        tuple(replace(phase, waits=one) for phase, one in zip(counts.phases, waits, strict=True))
    )
    assert predicted(alone, row, HERE).issue == pytest.approx(apart.issue)


def test_time_grows_with_each_wait_with_the_clock_period_and_with_blocks_that_share(
    counts: dict[str, LaunchCounts],
) -> None:
    row, launch = latencies_of("sm_90"), counts["map 512 x 49 relu 3x3, B 64, fp16"]
    total = predicted(launch, row, HERE).total[-1]
    for name in ("on_chip", "l2", "sync", "slot"):
        slower = replace(row, **{name: replace(getattr(row, name), value=2 * getattr(row, name).value)})
        assert predicted(launch, slower, HERE).total[-1] > total
    slow = predicted(launch, row, replace(HERE, clock_ghz=0.99)).total[-1]
    assert slow - row.launch_us.value == pytest.approx(2 * (total - row.launch_us.value))
    few = predicted(launch, row, replace(HERE, multiprocessors=8)).total  # 16 blocks each, 2 at a time
    assert few[0] > 8 * (predicted(launch, row, HERE).total[0] - row.launch_us.value)
    assert predicted(launch, row, replace(HERE, cold=True)).memory > predicted(launch, row, HERE).memory


def test_every_workload_has_a_prediction_above_its_floor_on_every_module() -> None:
    for workload in WORKLOADS:
        bounds = floors(workload)
        for module in MODULES:
            if module.name in bounds:
                found = prediction(workload, module).total
                assert found[-1] > bounds[module.name].critical_path
                assert list(found) == sorted(found)


def test_the_printed_table_says_what_a_time_is_made_of() -> None:
    lines = prediction_lines(WORKLOADS[0], {"AGX Orin 64GB": 7.6})
    assert " ".join(lines[0].split()) == "predicted us floor time = launch on chip memory sync issue"
    numbers = [float(word) for word in lines[1].removeprefix("  AGX Orin 64GB").replace("=", "").split()]
    assert numbers[0] == 7.6
    assert numbers[1] == pytest.approx(sum(numbers[2:]), abs=0.3)


def test_without_counts_or_cycles_the_table_says_why_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = {module.name: 1.0 for module in MODULES}
    xavier = prediction_lines(WORKLOADS[0], bounds)  # sm_72 has no row of cycles
    assert "must have sm_72" in xavier[1] and "nearest is sm_87" in xavier[1]
    assert xavier[2].startswith("  Orin Nano 8GB Super") and len(xavier) == len(MODULES) + 1
    changed = SimpleNamespace(digest="another source")
    monkeypatch.setattr("edgeosr.bench.kernel_predictions.device_source", lambda: changed)
    del bounds["Xavier NX"]
    lines = prediction_lines(WORKLOADS[0], bounds)
    assert len(lines) == 2 and "count it: python -m edgeosr.bench.kernel_counts" in lines[1]


def test_the_report_shows_both_halves_with_their_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = held_lines()
    begins = [number for number, line in enumerate(lines) if line.startswith("the model beside ")]
    first = next(number for number in begins if "beside NVIDIA H200" in lines[number])
    lines = lines[first : next((number for number in begins if number > first), len(lines))]
    assert "NVIDIA H200 (driver 580, 2026-11-26, commit f9077d1)" in lines[0]
    assert "Fitted on every second row" in lines[1] and "held back: x 1.0" in lines[1]
    assert "of one phase alone, held back: x 0.59 to 1.42." in lines[2]
    assert sum(" held " in line for line in lines[4:]) == 4
    assert sum(" fit " in line for line in lines[4:]) == 5
    assert "do not trust" not in lines[1]
    monkeypatch.setattr("edgeosr.bench.kernel_predictions.MOST", 1.01)
    assert sum("more than x 1.01: do not trust a prediction" in line for line in held_lines()) > 1


def test_a_phase_table_of_another_source_is_refused(
    table: PhaseTable, counts: dict[str, LaunchCounts]
) -> None:
    with pytest.raises(UsageError, match=r"must be of the kernel source .*; it is of 0e08e7eddcc0"):
        require_source(table, device_source().digest)
    with pytest.raises(UsageError, match="commit f9077d1"):
        compared(table, counts, device_source().digest, latencies_of("sm_90"))


@pytest.mark.parametrize(
    ("architecture", "nearest"),
    [("sm_72", "sm_87"), ("sm_89", "sm_90"), ("sm_120", "sm_110"), ("x", "sm_87")],
)
def test_an_architecture_without_a_row_names_the_nearest(architecture: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=rf"must have {architecture}; .* the nearest is {nearest};"):
        latencies_of(architecture)


def test_counts_that_were_never_made_are_told_with_the_command(
    table: PhaseTable, counts: dict[str, LaunchCounts]
) -> None:
    with pytest.raises(UsageError, match=r"has those of 0e08e7eddcc0.*count it: python -m edgeosr"):
        counts_of_source("no source", "sm_90", 132)
    with pytest.raises(UsageError, match=r"must be of sm_75 x 40 multiprocessors; there are those of sm_90;"):
        counts_of_source(table.source, "sm_75", 40)
    with pytest.raises(UsageError, match=r"must be of sm_90 x 78 .* sm_90 x 132.*add it to DEVICES"):
        counts_of_source(device_source().digest, "sm_90", 78)  # other tiles, other counts
    other = replace(table, rows={"map 7 x 7": (1.0,) * 5})
    with pytest.raises(UsageError, match=r"must have the row 'map 7 x 7'"):
        compared(other, counts, table.source, latencies_of("sm_90"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda document: document.pop("source"), "must be a phase table with the fields"),
        (lambda document: document.update(phases=["pooling"]), "must have the phases pooling, norms;"),
        (
            lambda document: document["us_until_the_end_of_each_phase"].update(short=[1.0]),
            "a time for each in every row",
        ),
        (lambda document: document.update(us_until_the_end_of_each_phase=[1]), "must be a phase table"),
    ],
)
def test_a_file_that_is_no_phase_table_is_refused(
    change: Callable[[dict[str, Any]], object], words: str, tmp_path: Path
) -> None:
    document = json.loads(FILE.read_text("utf-8"))
    change(document)
    path = tmp_path / "kernel_phases_other.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match=words):
        phase_table(path)


def test_a_missing_phase_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="FileNotFoundError"):
        phase_table(tmp_path / "none.json")


def test_the_measured_launches_and_the_workloads_are_among_the_counted_cases() -> None:
    counted = {one.key: {row_name(case) for case in one.cases} for one in DEVICES}
    for kept in measured_tables():
        assert set(kept.rows) <= counted[key_of(kept.architecture, kept.multiprocessors)]
    for module in MODULES[1:]:
        key = key_of(module.architecture, int(module.multiprocessors.value))
        assert {row_name(case_of(workload)) for workload in WORKLOADS} <= counted[key]


def test_the_counts_file_is_written_a_phase_a_line() -> None:
    kept = json.loads(kernel_counts.FILE.read_text("utf-8"))
    assert kernel_counts.text_of(kept) == kernel_counts.FILE.read_text("utf-8")


def test_a_change_that_leaves_the_machine_code_keeps_the_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = json.loads(kernel_counts.FILE.read_text("utf-8"))
    code = kept["sources"][device_source().digest]["code"]
    moved = {"sources": dict(kept["sources"])}
    moved["sources"]["an older source"] = moved["sources"].pop(device_source().digest)
    path = tmp_path / "counts.json"
    path.write_text(kernel_counts.text_of(moved))
    monkeypatch.setattr(kernel_counts, "FILE", path)
    architectures = {one.architecture for one in DEVICES}
    builds = {
        name: SimpleNamespace(architecture=name, code_digest=lambda name=name: code[name])
        for name in architectures
    }
    monkeypatch.setattr("edgeosr.kernels.counting.compiled.compiled", builds.get)
    monkeypatch.setattr(kernel_counts, "_launch", lambda case, one: case)
    plans = {one.key: code[one.key] for one in DEVICES}
    monkeypatch.setattr(kernel_counts, "_digest_of", lambda launches: digests.pop(0))
    digests = list(plans.values())
    assert kernel_counts.main([]) == 0
    assert json.loads(path.read_text("utf-8")) == kept  # and those of the older source are gone
    counted: list[str] = []
    monkeypatch.setattr(kernel_counts, "_counted", lambda build, one, launches: counted.append(one.key) or {})
    # Another plan, the same machine code: that device is counted anew.
    digests = [*list(plans.values())[:-1], "other"]
    assert kernel_counts.main([]) == 0
    assert counted == [DEVICES[-1].key]
    counted.clear()
    digests = list(plans.values())
    path.write_text(kernel_counts.text_of(kept))
    builds["sm_87"].code_digest = lambda: "other"
    assert kernel_counts.main([]) == 0
    assert counted == [one.key for one in DEVICES if one.architecture == "sm_87"]


def test_a_plan_s_digest_is_of_what_it_launches() -> None:
    case = next(case for case in kernel_counts.MODEL_CASES if case.batch == 8)
    many = {row_name(case): kernel_counts._launch(case, DEVICES[0])}
    assert many[row_name(case)].tile == 1
    one_block = {row_name(case): kernel_counts._launch(case, replace(DEVICES[0], multiprocessors=1))}
    assert kernel_counts._digest_of(many) != kernel_counts._digest_of(one_block)
    assert kernel_counts._digest_of(many) == kernel_counts._digest_of(dict(many))


def test_the_machine_codes_wavefronts_are_those_of_the_source_on_the_cpu() -> None:
    """Two counters that share nothing.

    Of the maps they agree but for a few loads of the scorer's constants, one a warp, that the compiler keeps
    in a register or issues ahead; until the constants lay in shared memory they agreed to the last wavefront.
    """
    for clusters, device in ((False, ("sm_87", 16)), (True, ("sm_90", 132))):
        for workload in WORKLOADS:
            of_source = wavefronts_of(workload, clusters=clusters)
            if of_source is not None:
                of_code = sum(phase.wavefronts for phase in counts_for(workload, *device).phases)
                if workload.source == "map":
                    assert abs(of_source.wavefronts - of_code) <= 16
                else:
                    assert of_code == pytest.approx(of_source.wavefronts, rel=0.02)
