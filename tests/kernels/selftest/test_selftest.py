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
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.selftest import allowed, cases, launches, selftest
from edgeosr.kernels.selftest.cases import SelftestCase, case_inputs, case_scorer, random_cases
from edgeosr.scoring.parts import part_names

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
        ["--cases", "2", "--runs", "2", "--repeats", "2", *words],
        driver=Driver(cuda),
        image=IMAGE,
        rivals=rivals or {},
    )
    return code, json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def test_a_right_kernel_passes_and_the_report_says_on_what(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = report(capsys, GraphDouble())
    assert code == 0 and found["passed"]
    assert (found["device"], found["architecture"], found["driver"]) == ("Orin", "sm_87", "12.6")
    assert found["build"] == "the emulation"
    assert len(found["cases"]) == 4
    assert all(case["same_bits_again"] and not case["decisions_that_differ"] for case in found["cases"])
    assert all(not case["labels_that_differ"] and not case["values_that_differ"] for case in found["cases"])
    assert all(case["again"] == {"launches": 2, "differed": 0, "told": []} for case in found["cases"])
    assert all(": rule (the plan table has no row" in case["plan"] for case in found["cases"])
    (timing,) = found["timings"]
    kernel = timing["kernel"]
    assert kernel["least_us"] <= kernel["median_us"] <= kernel["p99_us"]
    assert "2 rounds" in timing["how"] and "the emulation" in kernel["conditions"]


def test_launches_that_differ_are_told_apart_by_field_and_sample() -> None:
    found = np.zeros(3, VERDICT)
    found["values"][:, 2:] = np.nan
    again = found.copy()
    assert launches.differences(found, again) == {}
    again["score"][1], again["values"][2, 1] = 0.25, -0.5
    told = launches.differences(found, again)
    assert told["score"] == {"samples": [1], "columns": [0], "most": 0.25, "first": [0.0], "this": [0.25]}
    assert {name: told["values"][name] for name in ("samples", "columns", "most")} == {
        "samples": [2],
        "columns": [1],
        "most": 0.5,
    }
    assert told["values"]["this"][:2] == [0.0, -0.5]


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


def one_case(cuda: CudaDouble, case: SelftestCase = SMALL, repeats: int = 2) -> dict[str, Any]:
    with FusedScorer(case_scorer(case), half=case.half_weights, driver=Driver(cuda), image=IMAGE) as scorer:
        return selftest.checked_case(scorer, case, repeats)


def of_another_class(verdict: np.ndarray, launch: int) -> None:
    verdict.view(np.uint32)[0] += 1


def of_no_value(verdict: np.ndarray, launch: int) -> None:
    verdict[5] = np.nan


def a_little_off(verdict: np.ndarray, launch: int) -> None:
    verdict[5] += 2e-2


def test_a_wrong_label_and_a_part_that_is_off_fail_whatever_the_score_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = case_scorer(SMALL)
    weights = (1.0, 0.0, *right.fusion.weights[2:])
    part = right.fusion.parts[1]

    def without_it(case: SelftestCase) -> Any:
        return replace(right, fusion=replace(right.fusion, weights=weights))

    label = one_case(Wrong(of_another_class))
    assert not label["passed"] and (label["labels_that_differ"], label["labels_too_near"]) == (1, 0)
    assert not label["values_that_differ"] and label["decisions_that_differ"] == 0
    monkeypatch.setitem(globals(), "case_scorer", without_it)
    assert one_case(CudaDouble())["passed"]
    for change in (a_little_off, of_no_value):
        value = one_case(Wrong(change))
        assert not value["passed"] and value["values_that_differ"] == [part]
        assert value["score_error"] < 1e-2 and value["same_bits_again"] and not value["labels_that_differ"]


def test_classes_of_the_same_weights_are_told_apart_by_their_order_and_others_that_tie_are_not_compared() -> (
    None
):
    one_channel = replace(SMALL, dimension=1, batch=5, half_weights=False, activation="leaky_relu")
    found = one_case(CudaDouble(), one_channel)
    assert found["passed"] and found["labels_too_near"] == 0, "its ten classes are 1 or -1"
    assert not one_case(Wrong(of_another_class), one_channel)["passed"]
    scorer = case_scorer(SMALL)
    weight = scorer.head.weight.copy()
    weight[1:] = weight[0] * (1 + 1e-7 * np.arange(1, 10, dtype=np.float32))[:, None]
    exact = {}
    for name, head in {"same": np.repeat(weight[:1], 10, axis=0), "near": weight}.items():
        tied = replace(scorer, head=replace(scorer.head, weight=head))
        reference = selftest.reference_scores(tied, **case_inputs(SMALL))
        exact[name] = allowed.near_labels(
            allowed.exact_batch(tied, case_inputs(SMALL), reference, half=False)
        )
    assert not exact["same"].any() and exact["near"].all()


def test_one_launch_of_many_that_differs_is_kept_with_its_bytes_and_what_the_copy_says() -> None:
    def once(verdict: np.ndarray, launch: int) -> None:
        verdict[4] += 0.5 if launch == 4 else 0.0

    found = one_case(Wrong(once), repeats=5)
    assert not found["passed"] and not found["values_that_differ"], "the first launch was right"
    again = found["again"]
    assert (again["launches"], again["differed"]) == (5, 1)
    (told,) = again["told"]
    assert (told["launch"], told["room_filled"], told["copied_again_the_same"]) == (3, False, True)
    assert told["fields"]["values"]["samples"] == [0] and told["samples"] == 1
    raw = {name: np.frombuffer(bytes.fromhex(text), VERDICT) for name, text in told["bytes"]["0"].items()}
    assert raw["this"]["values"][0, 0] == pytest.approx(raw["first"]["values"][0, 0] + 0.5)
    assert raw["this"]["flags"][0] >> 8 == (raw["first"]["flags"][0] >> 8) + 3, "with the launch's number"


class TornCopy(CudaDouble):
    """Copies that bring another byte than the one in device memory, once."""

    def _MemcpyDtoHAsync(self, into: int, address: int, size: int, stream: int) -> None:
        super()._MemcpyDtoHAsync(into, address, size, stream)
        if self.count("cuMemcpyDtoHAsync") == 2:
            ctypes.c_uint8.from_address(into + 9).value ^= 1


def test_a_copy_to_the_host_that_is_at_fault_is_told_from_a_launch() -> None:
    (told,) = one_case(TornCopy())["again"]["told"]
    assert not told["copied_again_the_same"] and set(told["fields"]) == {"score"}


class ReadsWhatLiesThere(CudaDouble):
    """A launch whose score depends on what lay in its room, as if it relied on an earlier launch."""

    def __init__(self, of_the_workspace: bool):
        super().__init__()
        self.of_the_workspace = of_the_workspace

    def _launched(self, launch: Launch) -> None:
        before = ctypes.c_float.from_address(launch.params.verdicts + 8).value
        if self.of_the_workspace:
            before = ctypes.c_float.from_address(launch.params.workspace + launch.params.partials_at).value
        number = self.count("cuLaunchKernel")
        super()._launched(launch)
        score = ctypes.c_float.from_address(launch.params.verdicts + 8)
        score.value += float(number > 1 and np.isnan(before))


@pytest.mark.parametrize("of_the_workspace", [True, False])
def test_every_second_launch_finds_nan_in_verdicts_and_workspace(of_the_workspace: bool) -> None:
    again = one_case(ReadsWhatLiesThere(of_the_workspace), repeats=4)["again"]
    assert again["differed"] == 2 and all(told["room_filled"] for told in again["told"])


def test_a_report_of_many_that_differ_stays_small() -> None:
    found = one_case(Wrong(lambda verdict, launch: verdict.__setitem__(4, launch)), repeats=12)
    assert found["again"]["differed"] == 12 and len(found["again"]["told"]) == 4
    assert len(json.dumps(found["again"])) < 8000


def test_more_random_cases_follow_until_the_seconds_are_over_and_each_one_is_kept_at_once() -> None:
    now = iter(range(0, 1000, 10))
    kept: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selftest.time, "monotonic", lambda: next(now))
        found = selftest.run_selftest(
            selftest.SelftestSettings(cases=1, runs=0, seconds=25, repeats=1),
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


@pytest.mark.parametrize("option", ["--seed", "--cases", "--runs", "--seconds", "--repeats"])
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


def test_every_part_that_the_kernel_has_is_held_to_a_bound_of_its_own() -> None:
    assert allowed.RULES.keys() == set(part_names())


@pytest.mark.parametrize(
    "case",
    [
        # Nothing is left of a tangent that lies along z; of cosines of 1, sqrt(1 - c^2) is steep.
        SelftestCase(
            dimension=1,
            batch=64,
            size=0,
            probes=1,
            head="linear",
            classes=6,
            half_weights=False,
            half_input=False,
        ),
        SelftestCase(dimension=1, batch=9, activation="silu", classes=100, margin=0.3, half_weights=False),
        SelftestCase(dimension=7, batch=9, taps=1, activation="gelu", classes=100, margin=0.3),
    ],
)
def test_where_rounding_is_blown_up_the_bounds_follow_it(case: SelftestCase) -> None:
    assert one_case(CudaDouble(), case)["passed"], case.name
