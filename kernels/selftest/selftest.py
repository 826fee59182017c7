"""The rung that needs a device: is the compiled kernel right there, and how fast.

    python -m edgeosr.kernels.selftest                             one JSON document on standard output
    compute-sanitizer --tool memcheck  python -m edgeosr.kernels.selftest --quick
    compute-sanitizer --tool racecheck python -m edgeosr.kernels.selftest --quick
    (initcheck and synccheck likewise)

Every verdict is compared with the float64 reference with the same packed weights: label, every part's value,
score and decision. Each launch is repeated, and its bits must not change. Exit code 0 only if all agree. Then
the kernel is timed in turn with unfused torch and a TensorRT engine of model.onnx's scoring part, where they
are installed (rivals.py); the report says why one was not.
"""

import argparse
import itertools
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.errors import EdgeosrError, require_seed, require_whole
from edgeosr.kernels.build.images import Image
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.device_verdicts import ACCEPTED
from edgeosr.kernels.driver.driver import Driver, open_driver
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.packing import unpacked_weights
from edgeosr.kernels.selftest.allowed import ROUNDING, Exact, allowed_errors, exact_batch, near_labels
from edgeosr.kernels.selftest.cases import (
    ROW_CASES,
    TIMED_CASES,
    SelftestCase,
    case_inputs,
    case_scorer,
    random_cases,
)
from edgeosr.kernels.selftest.device_copy import DeviceCopy
from edgeosr.kernels.selftest.launches import launched, raw_verdicts, repeated
from edgeosr.kernels.selftest.rivals import Rival, installed_rivals, time_beside_rivals
from edgeosr.printed import json_text
from edgeosr.scoring.reference import reference_scores
from edgeosr.scoring.scorer import Scorer

# Of the score, in standard deviations of known samples, by fp16 weights; J relative, with fp32 weights, on
# top of the rounding of its logarithm.
SCORE_TOLERANCE = {True: 1e-2, False: 2e-5}
JACOBIAN_TOLERANCE = ROUNDING
JACOBIAN = "log_jacobian"  # the part that holds J
REPEATS = 32  # launches of each case after its first


@dataclass(frozen=True, kw_only=True)
class SelftestSettings:
    """What to run: random cases, their seed, and timed rounds of each of ``TIMED_CASES`` (0: no timing).

    With ``seconds`` more random cases follow until so much time has passed since the start. ``repeats``:
    launches of each case after its first.
    """

    cases: int = 40
    seed: int = 1
    runs: int = 300
    seconds: int = 0
    repeats: int = REPEATS

    def __post_init__(self) -> None:
        require_whole("--cases", self.cases, 0)
        require_seed("--seed", self.seed)
        require_whole("--runs", self.runs, 0)
        require_whole("--seconds", self.seconds, 0)
        require_whole("--repeats", self.repeats, 1)


def run_selftest(
    settings: SelftestSettings,
    *,
    driver: Driver | None = None,
    image: Image | None = None,
    rivals: Mapping[str, Rival] | None = None,
    fixed: tuple[Sequence[SelftestCase], Sequence[SelftestCase]] | None = None,
    keep: Callable[[dict[str, Any]], None] = lambda report: None,
) -> dict[str, Any]:
    """Run it; return the report, ``passed`` first.

    Args:
        settings: what to run.
        driver: None: through cuda-python.
        image: build of the kernel; None: what suits the device.
        rivals: to time beside it, by name; None: what is installed.
        fixed: cases that are timed too, and ones that are not, before the random ones; None: the module's.
        keep: takes the report so far, after each case.

    Raises:
        DeviceError: there is no device, or a call failed.
    """
    driver = driver or open_driver()
    rivals = installed_rivals() if rivals is None else rivals
    tensor_cores = driver.device(None).architecture >= (7, 5)
    results: list[dict[str, Any]] = []
    timings: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    timed, others = fixed or (TIMED_CASES, ROW_CASES)
    for case in _cases(settings, (*timed, *others)):
        if case.half_weights and not tensor_cores:
            continue
        with FusedScorer(case_scorer(case), half=case.half_weights, driver=driver, image=image) as scorer:
            about = _about(scorer)
            results.append(checked_case(scorer, case, settings.repeats))
            if case in timed and settings.runs:
                timings.append(time_beside_rivals(scorer, case, settings.runs, rivals))
        keep(_report(about, results, timings))
    return _report(about, results, timings)


def _cases(settings: SelftestSettings, fixed: Sequence[SelftestCase]) -> Iterator[SelftestCase]:
    started = time.monotonic()
    yield from (*fixed, *random_cases(settings.cases, settings.seed))
    for number in itertools.count(settings.seed + settings.cases):
        if time.monotonic() - started >= settings.seconds:
            return
        yield from random_cases(1, number)


def _report(
    about: dict[str, Any], results: list[dict[str, Any]], timings: list[dict[str, Any]]
) -> dict[str, Any]:
    inside = sum(result["inside_band"] for result in results)
    samples = sum(result["samples"] for result in results)
    return {
        "passed": all(result["passed"] for result in results) and inside <= 0.01 * samples,
        **about,
        "tolerances": {
            "score_fp16": SCORE_TOLERANCE[True],
            "score_fp32": SCORE_TOLERANCE[False],
            "values": "allowed.py, by part and sample",
        },
        "samples": samples,
        "inside_band": inside,
        "cases": results,
        "timings": timings,
    }


def checked_case(scorer: FusedScorer, case: SelftestCase, repeats: int = REPEATS) -> dict[str, Any]:
    """Launch one case, compare it with float64, and launch it again; return its entry of the report.

    Args:
        scorer: made of ``case_scorer(case)``.
        case: sizes and inputs.
        repeats: launches more.
    """
    inputs = case_inputs(case)
    weights = unpacked_weights(scorer.scorer, half=case.half_weights)
    reference = reference_scores(weights, **inputs)
    copies = {name: DeviceCopy(scorer.driver, array) for name, array in inputs.items()}
    try:
        with launched(scorer, copies, None) as room:
            raw = raw_verdicts(room)
            found = room.taken(raw.copy())
            again = repeated(scorer, copies, room, raw, repeats)
    finally:
        for copy in copies.values():
            scorer.driver.free(copy.address)
    tolerance = SCORE_TOLERANCE[case.half_weights]
    error = np.abs(found["score"] - reference["score"])
    band = np.abs(reference["score"] - scorer.scorer.threshold) <= tolerance
    differ = ((found["flags"] & ACCEPTED) > 0) != reference["accepted"]
    relative = _jacobian_errors(scorer.scorer, found["values"], reference["values"])
    exact = exact_batch(weights, inputs, reference, half=case.half_weights)
    near = near_labels(exact)
    values = _value_errors(scorer.scorer.fusion.parts, found["values"], exact, reference["values"])
    result = {
        "case": case.name,
        "samples": case.batch,
        "plan": scorer.last_plan.described if scorer.last_plan else "",
        "score_error": float(error.max()),
        "jacobian_error": float(relative.max()),
        "inside_band": int(band.sum()),
        "decisions_that_differ": int((differ & ~band).sum()),
        "labels_that_differ": int(((found["label"] != reference["label"]) & ~near).sum()),
        "labels_too_near": int(near.sum()),
        "value_errors": values,
        "values_that_differ": [name for name, one in values.items() if not one["of_allowed"] <= 1],
        "same_bits_again": not again["differed"],
        "again": again,
    }
    precise = case.half_weights or case.probes > 0 or bool((relative <= JACOBIAN_TOLERANCE).all())
    right = bool((error <= tolerance).all()) and precise
    wrong = ("decisions_that_differ", "labels_that_differ", "values_that_differ")
    right = right and not any(result[name] for name in wrong)
    return {**result, "passed": right and not again["differed"]}


def _value_errors(
    parts: Sequence[str], found: NDArray[np.float32], exact: Exact, expected: NDArray[np.float64]
) -> dict[str, dict[str, float]]:
    """Return of each part the largest error, and the largest share of what is allowed; of weight 0 too."""
    error = np.abs(found[:, : len(parts)] - expected)
    share = error / allowed_errors(exact, expected)
    return {
        name: {"error": float(error[:, at].max()), "of_allowed": float(share[:, at].max())}
        for at, name in enumerate(parts)
    }


def _jacobian_errors(
    scorer: Scorer, found: NDArray[np.float32], expected: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the relative error of J of each sample, the rounding of a float32 logarithm taken off."""
    if JACOBIAN not in scorer.fusion.parts:
        return np.zeros(len(found))
    at = scorer.fusion.parts.index(JACOBIAN)
    error = np.abs(found[:, at] - expected[:, at])
    rounding = np.spacing(np.abs(expected[:, at]).astype(np.float32))
    return np.asarray(np.maximum(error - rounding, 0.0), np.float64)


def _about(scorer: FusedScorer) -> dict[str, Any]:
    device = scorer.device
    return {
        "device": device.name,
        "architecture": device.target,
        "driver": f"{device.driver[0]}.{device.driver[1]}",
        "build": scorer.origin,
        "source": device_source().digest,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def main(
    arguments: Sequence[str] | None = None,
    *,
    driver: Driver | None = None,
    image: Image | None = None,
    rivals: Mapping[str, Rival] | None = None,
) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m edgeosr.kernels.selftest",
        description="Check and time the fused kernel on this device.",
    )
    parser.add_argument("--cases", type=int, default=40, help="random cases")
    parser.add_argument("--seed", type=int, default=1, help="of the random cases")
    parser.add_argument("--runs", type=int, default=300, help="timed rounds of each timed case; 0: none")
    parser.add_argument("--seconds", type=int, default=0, help="more random cases until they have passed")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="launches of each case after its first")
    parser.add_argument("--quick", action="store_true", help="4 random cases, no timing (compute-sanitizer)")
    options = parser.parse_args(arguments)
    try:
        settings = SelftestSettings(
            cases=options.cases,
            seed=options.seed,
            runs=options.runs,
            seconds=options.seconds,
            repeats=options.repeats,
        )
        if options.quick:
            settings = replace(settings, cases=4, runs=0)
        report = run_selftest(settings, driver=driver, image=image, rivals=rivals)
    except EdgeosrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json_text(report, indent=2))
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
