"""The performance model: its counts by hand, its floors' directions, and what it prints."""

import json
import math
from dataclasses import replace

import pytest

from edgeosr.bench.jetson import ASSUMED, DATASHEET, MODULES, Value
from edgeosr.bench.kernel_model import WORKLOADS, Workload, counts_of, floor_of, floors
from edgeosr.bench.kernel_report import kernel_model_json, kernel_model_text, plans_of
from edgeosr.bench.unfused_chain import best_fused_chain, naive_chain
from edgeosr.kernels.plan_table import PlanRow, PlanTable

ONE = Workload(source="map", batch=1, dimension=512, positions=49)


def test_the_bytes_of_a_small_row_are_those_counted_by_hand() -> None:
    counts = counts_of(ONE)
    rows = 512 + 16  # layer 1 over the head, padded to 16
    split = rows * 512 * 2
    later = 2 * (512 * 256 + 256 * 128 + 128 * 64) + 4 * (
        256 + 128 + 64 + 64
    )  # biases and the last layer fp32
    table, offsets = 512 * 13 * 4, 112  # 13 taps of a 3x3 filter's half plane; offsets padded to 16
    assert counts.weight_bytes == 192 + split + 4 * rows + later + table + offsets
    assert counts.input_bytes == 512 * 49 * 2
    assert counts.first_bytes == split + table
    assert counts.last_bytes == later + 16 * (rows + 2) * 4
    assert counts.block_bytes == (rows * 32 + 32 * 49) * 2 + 32 * 13 * 4
    assert (counts.blocks, counts.last_blocks, counts.launches) == (16, 1, 1)
    # Two products (high and low half of z), two operations each, 8 columns.
    assert counts.tensor_flops[0] == 2 * 2 * rows * 512 * 8


def test_a_device_with_more_multiprocessors_gets_more_and_smaller_tiles_of_the_same_bytes() -> None:
    eight = replace(ONE, batch=8)
    full, orin, wide = (counts_of(eight, many) for many in (0, 8, 132))
    assert (full.blocks, full.last_blocks) == (orin.blocks, orin.last_blocks) == (16, 1)
    assert (wide.blocks, wide.last_blocks) == (128, 8)
    assert wide.dram_bytes == full.dram_bytes
    assert wide.block_bytes < full.block_bytes
    # A tensor core multiplies eight columns whether samples fill them or not.
    assert wide.tensor_flops == tuple(8 * flops for flops in full.tensor_flops)
    printed = "blocks of tiles: 16 on Orin Nano 8GB Super, Orin NX 16GB, AGX Orin 64GB; 8 on Thor T5000. One"
    assert printed in kernel_model_text()


def test_the_counts_of_the_tangent_source_are_those_counted_by_hand() -> None:
    counts = counts_of(Workload(source="tangents", batch=64, dimension=512, probes=8))
    assert counts.input_bytes == 9 * 64 * 512 * 2
    assert counts.integer_operations == 0
    assert counts.last_blocks == 8


def test_in_a_cluster_every_block_has_its_share_of_phase_two() -> None:
    alone, together = counts_of(ONE, 132), counts_of(ONE, 132, "sm_90")
    assert together == counts_of(ONE, 20, "sm_110") and counts_of(ONE, 132, "sm_87") == alone
    assert (together.blocks, together.last_blocks) == (8, 8)
    assert together.dram_bytes == alone.dram_bytes and together.tensor_flops == alone.tensor_flops
    later = alone.last_bytes - 16 * (512 + 16 + 2) * 4
    # Eight slabs: an eighth of the hidden rows, the head's rows and the norms; an eighth of the weights.
    assert together.last_bytes == 4 * 8 * (512 // 8 + 16 + 2) + later // 8
    eight = counts_of(replace(ONE, batch=8), 20, "sm_110")  # two tiles of four
    assert eight.last_blocks == 16
    assert eight.last_bytes == 4 * 8 * (4 * 512 // 8 + 16 + 2) + later // 8
    orin, thor = MODULES[1], MODULES[4]
    assert floor_of(together, thor).last < floor_of(alone, thor).last
    assert floors(ONE)[thor.name] == floor_of(together, thor)
    assert floors(ONE)[orin.name] == floor_of(counts_of(ONE, 8), orin)


@pytest.mark.parametrize(("dimension", "most"), [(512, (1.4, 1.4, 1.8, 1.8)), (1280, (1.4,) * 4)])
def test_one_sample_stays_within_the_floors_that_the_design_promises(
    dimension: int, most: tuple[float, ...]
) -> None:
    found = floors(replace(ONE, dimension=dimension))
    assert list(found) == ["Orin Nano 8GB Super", "Orin NX 16GB", "AGX Orin 64GB", "Thor T5000"]
    ratios = [floor.ratio for floor in found.values()]
    assert all(ratio <= limit for ratio, limit in zip(ratios, most, strict=True)), ratios


def test_a_phase_is_limited_by_the_multiprocessors_that_are_active_in_it() -> None:
    counts, orin = counts_of(ONE), MODULES[1]
    many = replace(orin, multiprocessors=Value(1000, ASSUMED), dram_gb_s=Value(1e9, ASSUMED))
    floor, wide = floor_of(counts, orin), floor_of(counts, many)
    assert wide.last == floor.last  # one block: no matter how many others there are
    assert math.isclose(floor.last, counts.last_bytes / (64 * 1.02e3))
    assert wide.first < floor.first
    assert math.isclose(wide.first, counts.block_bytes / (64 * 1.02e3))  # one slab is the least


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_a_floor_is_at_least_all_bytes_at_full_bandwidth(workload: Workload) -> None:
    for floor in floors(workload).values():
        assert floor.ratio >= 1
        assert floor.critical_path >= floor.dram


def test_xavier_is_modelled_with_fp32_weights_alone() -> None:
    assert "Xavier NX" in floors(replace(ONE, half=False))
    assert "Xavier NX" not in floors(ONE)


def test_the_unfused_chain_is_listed_and_moves_more() -> None:
    naive, fused = naive_chain(ONE), best_fused_chain(ONE)
    assert (len(naive), len(fused)) == (23, 9)
    assert sum(o.bytes_moved for o in naive) > sum(o.bytes_moved for o in fused) > counts_of(ONE).input_bytes
    assert [o.name for o in naive if o.name.startswith("layer")] == [f"layer {n}" for n in range(1, 6)]


def test_the_text_calls_nothing_on_a_module_measured_and_marks_every_source() -> None:
    text = kernel_model_text()
    assert "Nothing was measured on these modules" in text.splitlines()[1]
    of_modules, of_a_card = text.split("the model beside NVIDIA H100", 1)
    assert of_modules.count("measured") == 1
    assert of_modules.count("predicted us") == len(WORKLOADS)
    assert "measured / predicted" in of_a_card
    for module in MODULES:
        assert f"  {module.name}: " in text
        for value in (module.multiprocessors, module.clock_ghz, module.dram_gb_s):
            assert value.source in (DATASHEET, ASSUMED)
    for mark in ("[c]", "[d]", "[a]"):
        assert mark in text


def test_who_decided_a_plan_is_told_of_every_module(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(name for names in plans_of(ONE).values() for name in names) == sorted(floors(ONE))
    assert all(": rule (" in plan for plan in plans_of(ONE))
    row = PlanRow(
        architecture="sm_110",
        multiprocessors=20,
        weights="fp16",
        dimension=(512, 512),
        positions=(49, 49),
        batch=(8, 8),
        slabs=8,
        samples=2,
        class_warps=0,
        origin="measured on Thor",
        us=30.0,
        rule_us=34.0,
    )
    monkeypatch.setattr("edgeosr.kernels.plan.installed_table", lambda: PlanTable((row,)))
    found = {name: plan for plan, names in plans_of(replace(ONE, batch=8)).items() for name in names}
    assert found["Thor T5000"].startswith("tiles of 2: table, measured on Thor (30 us there, 34 ")
    assert found["AGX Orin 64GB"].startswith(
        "tiles of 8: rule (the plan table has no row of this shape on sm_87"
    )
    assert f"  plan on Thor T5000: {found['Thor T5000']}" in kernel_model_text().splitlines()


def test_the_json_holds_every_row_and_says_that_it_is_no_measurement() -> None:
    document = json.loads(kernel_model_json())
    assert document["measured"] is False
    assert len(document["rows"]) == len(WORKLOADS)
    assert set(document["sources"].values()) <= {"counted", "assumed", "per value", "predicted"}
    assert document["held_against"][0]["held_back_off_by_at_most"] < 1.5
    for row in document["rows"]:
        assert set(row["predicted_us"]) == set(row["floors_us"])
        for floor in row["floors_us"].values():
            assert floor["ratio"] == pytest.approx(floor["critical_path"] / floor["dram"])
