"""``edgeosr verify`` against engines (and graphs) with a fault each: it is seen, and rounding is none."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from machine import Machine
from numpy.typing import NDArray

from edgeosr.bundle.directory import Bundle, read_bundle, write_bundle
from edgeosr.errors import BundleError
from edgeosr.runtime.backends.engine_runner import EngineRunner
from edgeosr.runtime.backends.onnxruntime import OnnxRuntimeBackend
from edgeosr.runtime.golden import Golden, read_golden
from edgeosr.runtime.rows import Rows
from edgeosr.runtime.runtime import Runtime
from edgeosr.runtime.verify import verify_bundle
from edgeosr.scoring.scorer_file import read_scorer, write_scorer

TypedBundle = Callable[..., Bundle]

BOTH = ("onnxruntime", "tensorrt")


def rewritten(path: Path, **files: bytes) -> None:
    """Write the bundle anew with other files, its engines gone as an export leaves it."""
    bundle = read_bundle(path)
    contents = {**bundle.files, **{f"{name}.npz": data for name, data in files.items()}}
    write_bundle(path, replace(bundle.manifest, engines=()), contents)


def golden_of(path: Path) -> Golden:
    bundle = read_bundle(path)
    return read_golden(bundle.files["golden.npz"], bundle.manifest)


def engine_that_says(
    monkeypatch: pytest.MonkeyPatch, changed: Callable[[Rows, NDArray[np.uint8], float], Rows]
) -> None:
    """Change what the engine with the kernel says; changed(rows, frames, threshold)."""
    run = EngineRunner.run

    def other(self: EngineRunner, frames: Any, *, bgr: bool, threshold: float) -> Rows:
        return changed(run(self, frames, bgr=bgr, threshold=threshold), frames, threshold)

    monkeypatch.setattr(EngineRunner, "run", other)


def shifted(rows: Rows, by: Any, threshold: float) -> Rows:
    score = (rows.score + by).astype(np.float32)
    return rows._replace(score=score, accepted=score <= threshold)


def test_an_engine_that_shifts_every_score_fails_however_far_the_gate_saw_them_apart(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = read_bundle(machine.path)
    assert bundle.manifest.backbone is not None
    # As in a recorded bundle: the band was this number once, and forgave it all.
    gate = replace(bundle.manifest.backbone.gate, score_distance=(0.001, 1.6))
    backbone = replace(bundle.manifest.backbone, gate=gate)
    write_bundle(machine.path, replace(bundle.manifest, backbone=backbone), bundle.files)
    machine.add()
    engine_that_says(monkeypatch, lambda rows, _, threshold: shifted(rows, 0.5, threshold))
    onnxruntime, tensorrt = verify_bundle(machine.path, backends=BOTH).checks
    assert onnxruntime.passed and not tensorrt.passed
    assert any("golden frame" in line for line in tensorrt.differences)
    assert any("which rounding does not explain" in line for line in tensorrt.differences)
    assert tensorrt.band < 0.05 and 0.45 < tensorrt.score_distance[0] < 0.55


def test_an_engine_that_swaps_two_classes_fails(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.add()
    swap = np.array([1, 0, 2, 3])
    engine_that_says(monkeypatch, lambda rows, *_: rows._replace(label=swap[rows.label]))
    check = verify_bundle(machine.path, backends=("tensorrt",)).checks[0]
    golden = golden_of(machine.path)
    assert golden.typed is not None
    swapped = int((golden.typed.label < 2).sum())
    assert swapped > 10 and not check.passed
    assert len(check.differences) == 2 * swapped  # rejected ones too: their nearest class is another


def test_an_engine_that_rounds_otherwise_passes(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.add()

    def noisy(rows: Rows, frames: NDArray[np.uint8], threshold: float) -> Rows:
        random = np.random.default_rng(int(frames.sum()))
        return shifted(rows, random.uniform(-0.008, 0.008, len(rows.score)), threshold)

    engine_that_says(monkeypatch, noisy)
    check = verify_bundle(machine.path, backends=("tensorrt",)).checks[0]
    assert check.passed and check.agreed + check.ties == 128
    assert 0.004 < check.score_distance[1] < 0.02


def test_an_engine_that_takes_bgr_for_rgb_fails(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.add()
    run = EngineRunner.run
    monkeypatch.setattr(
        EngineRunner,
        "run",
        lambda self, frames, *, bgr, threshold: run(self, frames, bgr=False, threshold=threshold),
    )
    check = verify_bundle(machine.path, backends=("tensorrt",)).checks[0]
    assert not check.passed and not any("(rgb)" in line for line in check.differences)


def test_nan_where_a_finite_rejected_frame_is_expected_fails(
    machine: Machine, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.add()
    golden = golden_of(machine.path)
    assert golden.typed is not None
    limit = read_bundle(machine.path).manifest.threshold.value
    # Four to eight of 64, so few that they may lie outside the band: cut where two scores are farthest apart.
    scores = np.sort(golden.typed.score)[::-1]
    count = 4 + int(np.argmax(scores[3:8] - scores[4:9]))
    rejected = float(scores[count - 1] + scores[count]) / 2
    assert rejected > limit + 0.1

    def spoilt(rows: Rows, *_: Any) -> Rows:
        gone = rows.score >= rejected
        return rows._replace(score=np.where(gone, np.float32(np.nan), rows.score).astype(np.float32))

    engine_that_says(monkeypatch, spoilt)
    code, out, _ = command("verify", machine.path, "--backend", "tensorrt")
    assert code == 1 and f", {2 * count} finite on one side only (plan.plan)" in out and "score nan" in out
    code, out, _ = command("verify", machine.path, "--backend", "tensorrt", "--json")
    (check,) = json.loads(out)["backends"]
    assert (check["one_sided"], len(check["differences"])) == (2 * count, 2 * count)
    assert check["agreed"] + check["ties"] == 128 - 2 * count


def test_a_fault_at_the_last_place_of_every_batch_fails(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.add()

    def last_is_off(rows: Rows, frames: NDArray[np.uint8], threshold: float) -> Rows:
        away = np.where(rows.score > threshold, 2.0, -2.0)
        last = (np.arange(len(rows.score)) % 8 == 7) & (len(rows.score) > 1)
        return shifted(rows, away * last, threshold)

    engine_that_says(monkeypatch, last_is_off)
    check = verify_bundle(machine.path, backends=("tensorrt",)).checks[0]
    assert not check.passed and check.agreed + check.ties == 128  # no class, no decision is another one
    assert [line.split(":")[0] for line in check.differences] == ["scores in a batch"]


@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt"])
def test_parts_under_each_others_names_fail_though_the_score_is_right(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    machine.add()
    runner = EngineRunner if backend == "tensorrt" else OnnxRuntimeBackend
    run = runner.run

    def swapped(self: Any, frames: Any, **options: Any) -> Rows:
        rows = run(self, frames, **options)
        return rows._replace(values=rows.values[:, ::-1].copy())

    monkeypatch.setattr(runner, "run", swapped)
    check = verify_bundle(machine.path, backends=(backend,)).checks[0]
    assert not check.passed and check.agreed + check.ties == 128
    assert check.differences and all(line.startswith("values of ") for line in check.differences)


def test_a_scorer_that_is_not_the_manifests_is_refused_by_verify_and_by_an_engine(machine: Machine) -> None:
    scorer = read_scorer(read_bundle(machine.path).files["scorer.npz"])
    parts = (*scorer.fusion.parts[1::-1], *scorer.fusion.parts[2:])
    other = replace(scorer, fusion=replace(scorer.fusion, parts=parts))
    rewritten(machine.path, scorer=write_scorer(other))
    machine.add()
    with pytest.raises(BundleError, match="not the scorer of its manifest: the list of parts must be"):
        verify_bundle(machine.path)
    with pytest.raises(BundleError, match="not the scorer of its manifest: the list of parts must be"):
        Runtime(machine.path, backend="tensorrt")


def test_an_engine_of_other_weights_is_caught(machine: Machine, typed_bundle: TypedBundle) -> None:
    machine.add()
    run = machine.engine.session.run

    class Broken:
        def run(self, names: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [-result for result in run(names, feed)]

    machine.engine.session = Broken()  # type: ignore[assignment]
    report = verify_bundle(machine.path, backends=BOTH)
    onnxruntime, tensorrt = report.checks
    assert onnxruntime.passed and not tensorrt.passed and tensorrt.differences and not report.passed
