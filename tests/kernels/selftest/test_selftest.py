"""The selftest's logic, with the CPU execution of the kernel standing in for the device."""

import ctypes
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cuda_double import CudaDouble, Launch
from graph_double import GraphDouble

from edgeosr.errors import LARGEST_SEED
from edgeosr.kernels.build.images import Image
from edgeosr.kernels.device_verdicts import VERDICT
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.selftest import cases, selftest
from edgeosr.kernels.selftest.cases import SelftestCase, case_inputs, case_scorer, random_cases

IMAGE = Image(b"\x7fELF", "the emulation")
SMALL = SelftestCase(dimension=37, batch=3, size=4)
ROWS = SelftestCase(dimension=37, batch=3, size=4, classes=3, images=40)


@pytest.fixture(autouse=True)
def small_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    # The logic is what is tested here: the emulation takes seconds for the sizes of a real classifier.
    monkeypatch.setattr(selftest, "TIMED_CASES", (SMALL,))
    monkeypatch.setattr(selftest, "ROW_CASES", (ROWS,))
    monkeypatch.setattr(cases, "_ODD", (1, 7, 129))
    monkeypatch.setattr(cases, "_WIDTHS", (33, 16, 1))


def report(
    capsys: pytest.CaptureFixture[str], cuda: CudaDouble, *words: str, rivals: Any = None
) -> tuple[int, dict[str, Any]]:
    code = selftest.main(
        ["--cases", "2", "--runs", "2", *words], driver=Driver(cuda), image=IMAGE, rivals=rivals or {}
    )
    return code, json.loads(capsys.readouterr().out)


def test_a_right_kernel_passes_and_the_report_says_on_what(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = report(capsys, GraphDouble())
    assert code == 0 and found["passed"]
    assert (found["device"], found["architecture"], found["driver"]) == ("Orin", "sm_87", "12.6")
    assert found["build"] == "the emulation"
    assert len(found["cases"]) == 4
    assert all(case["same_bits_again"] and not case["decisions_that_differ"] for case in found["cases"])
    assert all(": rule (the plan table has no row" in case["plan"] for case in found["cases"])
    (timing,) = found["timings"]
    kernel = timing["kernel"]
    assert kernel["least_us"] <= kernel["median_us"] <= kernel["p99_us"]
    assert "2 rounds" in timing["how"] and "the emulation" in kernel["conditions"]


def test_launches_that_differ_are_told_apart_by_field_and_sample() -> None:
    found = np.zeros(3, VERDICT)
    found["values"][:, 2:] = np.nan
    again = found.copy()
    assert selftest.differences(found, again) == {}
    again["score"][1], again["values"][2, 1] = 0.25, -0.5
    assert selftest.differences(found, again) == {
        "score": {"samples": [1], "columns": [0], "most": 0.25},
        "values": {"samples": [2], "columns": [1], "most": 0.5},
    }


def test_one_case_has_every_part_with_constants_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    carried = case_scorer(ROWS)
    assert set(carried.constants) == {"bank", "relative_mahalanobis", "class_jacobian"}
    assert not case_scorer(SMALL).constants
    listed = dict(zip(carried.fusion.parts, carried.fusion.weights, strict=True))
    assert all(listed[name] > 0 for name in carried.constants)
    _, found = report(capsys, GraphDouble(), "--runs", "0")
    (checked,) = (case for case in found["cases"] if "rows of 40 images" in case["case"])
    assert checked["passed"]
    # What runs on a device has as many rows as a bundle at most.
    assert {(case.half_weights, case.images) for case in cases.ROW_CASES} == {(True, 256), (False, 256)}


def test_a_product_of_rows_that_is_wrong_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "TIMED_CASES", ())
    right = selftest.reference_scores

    def with_other_rows(scorer: Any, **inputs: Any) -> Any:
        bank = scorer.constants.get("bank")
        if bank is not None:
            scorer = replace(scorer, constants={**scorer.constants, "bank": replace(bank, rows=-bank.rows)})
        return right(scorer, **inputs)

    monkeypatch.setattr(selftest, "reference_scores", with_other_rows)
    code, found = report(capsys, GraphDouble(), "--cases", "0", "--runs", "0")
    assert code == 1 and [case["passed"] for case in found["cases"]] == [False]


class Wrong(CudaDouble):
    """A device whose results are changed on their way back."""

    def __init__(self, change: Any):
        super().__init__()
        self.change = change

    def _launched(self, launch: Launch) -> None:
        super()._launched(launch)
        first = np.ctypeslib.as_array((ctypes.c_float * 20).from_address(launch.params.verdicts))
        self.change(first, self.count("cuLaunchKernel"))


def add_to_score(verdict: np.ndarray, launch: int) -> None:
    verdict[2] += 0.1


def add_to_every_second_launch(verdict: np.ndarray, launch: int) -> None:
    if launch % 2 == 0:
        verdict[4] += 1e-3


@pytest.mark.parametrize("change", [add_to_score, add_to_every_second_launch])
def test_a_wrong_score_and_bits_that_change_fail(capsys: pytest.CaptureFixture[str], change: Any) -> None:
    code, found = report(capsys, Wrong(change), "--quick")
    assert code == 1 and not found["passed"]
    assert found["timings"] == []


def test_more_random_cases_follow_until_the_seconds_are_over_and_each_one_is_kept_at_once() -> None:
    now = iter(range(0, 1000, 10))
    kept: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selftest.time, "monotonic", lambda: next(now))
        found = selftest.run_selftest(
            selftest.SelftestSettings(cases=1, runs=0, seconds=25),
            driver=Driver(GraphDouble()),
            image=IMAGE,
            rivals={},
            fixed=([], [SMALL]),
            keep=lambda report: kept.append(len(report["cases"])),
        )
    # The clock stands at 10 and 20 when a further case begins, and at 30 when none does.
    assert kept == [1, 2, 3, 4] and found["passed"]
    assert [case["case"] for case in found["cases"][1:]] == [
        *(case.name for case in random_cases(1, 1)),
        *(case.name for seed in (2, 3) for case in random_cases(1, seed)),
    ]


def test_without_a_device_it_says_so_and_prints_no_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert selftest.main(["--quick"], driver=Driver(CudaDouble(devices=0)), image=IMAGE) == 1
    output = capsys.readouterr()
    assert output.out == "" and "the driver sees 0" in output.err


@pytest.mark.parametrize("option", ["--seed", "--cases", "--runs", "--seconds"])
def test_a_number_below_zero_is_refused_before_the_device_is_looked_for(
    capsys: pytest.CaptureFixture[str], option: str
) -> None:
    cuda = GraphDouble()
    code = selftest.main(["--quick", option, "-1"], driver=Driver(cuda), image=IMAGE, rivals={})
    output = capsys.readouterr()
    assert code == 2 and output.out == ""
    assert output.err.startswith(f"error: {option} must be a whole number") and "got -1" in output.err
    assert not cuda.calls


def test_the_largest_seed_makes_cases_too() -> None:
    assert len(random_cases(3, LARGEST_SEED)) == 3
    selftest.SelftestSettings(seed=LARGEST_SEED, cases=0, runs=0)


def test_xavier_is_tested_with_fp32_weights_alone(capsys: pytest.CaptureFixture[str]) -> None:
    _, found = report(capsys, CudaDouble(architecture=(7, 2), driver=11040), "--runs", "0")
    assert found["passed"] and all("32-bit weights" in case["case"] for case in found["cases"])


def test_the_cases_are_the_same_on_every_machine_and_cover_both_sources() -> None:
    drawn = random_cases(40, 1)
    assert drawn == random_cases(40, 1) != random_cases(40, 2)
    assert {bool(case.size) for case in drawn} == {True, False}
    first, again = case_inputs(SMALL)["map"], case_inputs(SMALL)["map"]
    assert first.tobytes() == again.tobytes()
    assert abs(case_scorer(SMALL).threshold) < 5
