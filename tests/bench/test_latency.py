import io
import json
from dataclasses import replace

import numpy as np
import pytest

from edgeosr import Runtime
from edgeosr.bench.latency import (
    INPUTS,
    frame_size,
    frames_from_bundle,
    measure_latency,
    require_equal_verdicts,
)
from edgeosr.bench.latency_report import CLASSIFIER, FRONT_END, PILLOW, RUNTIME, SESSION, WIDTH
from edgeosr.bench.session import open_session
from edgeosr.bench.settings import LatencySettings
from edgeosr.bench.subgraph import plain_classifier
from edgeosr.bench.torch_baseline import JacobianTime, TorchLatency
from edgeosr.bundle.directory import read_bundle
from edgeosr.errors import BundleError, EdgeosrError, FrameError, UsageError

QUICK = LatencySettings(runs=12, warmup=1, threads=1, processes=0)


@pytest.fixture(scope="module")
def report(tmp_path_factory, write_bundle_at, new_clock):
    bundle = write_bundle_at(tmp_path_factory.mktemp("latency") / "tiny.edgeosr")
    return measure_latency(bundle, replace(QUICK, batches=(1, 3)), clock=new_clock())


def test_every_batch_has_three_interleaved_rows_and_a_paced_one(report) -> None:
    assert [batch.batch for batch in report.batches] == [1, 3]
    for batch in report.batches:
        assert list(batch.rows) == [RUNTIME, SESSION, CLASSIFIER]
        assert {len(row) for row in batch.rows.values()} == {12}
        assert batch.paced is not None and len(batch.paced.samples) >= 10


def test_no_rate_leaves_the_paced_row_out(tiny_bundle, fake_clock) -> None:
    report = measure_latency(tiny_bundle, replace(QUICK, rate_hz=0), clock=fake_clock)
    assert report.batches[0].paced is None
    assert "Hz" not in report.as_text()


def test_preprocessing_has_its_own_rows_beside_pillow(report) -> None:
    (part,) = report.preprocessing
    assert part.frame == (480, 640)
    assert list(part.rows) == [FRONT_END, PILLOW]


def test_a_fixed_frame_is_what_is_measured(make_bundle, fake_clock) -> None:
    report = measure_latency(make_bundle(frame=(24, 20)), QUICK, clock=fake_clock)
    assert report.frame == (24, 20)
    assert [part.frame for part in report.preprocessing] == [(24, 20)]


def test_the_json_holds_every_sample_its_conditions_and_the_percentile_rule(report) -> None:
    document = json.loads(report.as_json())
    first = document["batches"][0]
    assert len(first["saturated"][SESSION]["wall_ms"]) == 12
    assert len(first["saturated"][SESSION]["cpu_ms"]) == 12
    assert first["open_set_overhead"]["of"] == SESSION
    assert first["open_set_overhead"]["to"] == CLASSIFIER
    assert first["paced"]["rate_hz"] == 30
    assert "no interpolation" in document["percentile_rule"]
    assert document["settings"]["warmup"] == 1
    assert document["versions"]["onnxruntime"]
    assert {"cpu", "cores", "governor", "memory_mib", "load", "container", "gpu"} <= set(document["device"])
    assert document["providers"] == ["CPUExecutionProvider"]
    assert set(document["file_bytes"]) == {"model.onnx", "scorer.npz", "golden.npz"}
    assert document["checked_frames"] == INPUTS


def test_the_table_fits_a_terminal_and_names_its_conditions(report) -> None:
    assert max(map(len, report.as_text().splitlines())) <= WIDTH
    text = " ".join(report.as_text().split())
    for needed in ("p50", "p90", "p99", "max", "mean", "CPU p50", "1 thread", "governor", "load", "GPU none",
                   "warm-up 1 calls", "outputs equal on 8 frames", "open-set overhead, batch 3"):  # fmt: skip
        assert needed in text, needed


def test_it_says_what_was_timed_and_who_times_a_body(report) -> None:
    assert "timed: model.onnx on onnxruntime" in " ".join(report.as_text().split())
    assert report.as_dict()["timed"] == "model.onnx on onnxruntime"
    assert not any("body.onnx" in warning for warning in report.warnings)
    with_body = replace(report, files={**report.files, "body.onnx": 1})
    (told,) = [warning for warning in with_body.warnings if "body.onnx" in warning]
    assert told.endswith("python -m edgeosr.bench.x86 BUNDLE times that")


def test_few_samples_are_said_to_be_few(report) -> None:
    assert any("p99 of 12 samples is their maximum" in warning for warning in report.warnings)


def test_a_busy_machine_an_unheld_clock_and_scattered_samples_are_warned_about(report) -> None:
    busy = replace(
        report, device=replace(report.device, load=report.device.cores + 0.5, governor="powersave")
    )
    shaky = replace(
        busy.batches[0],
        rows={name: replace(row, wall_ms=(1.0, 2.0) * 6) for name, row in busy.batches[0].rows.items()},
    )
    text = " ".join(replace(busy, batches=(shaky,)).warnings)
    assert "something else is running" in text
    assert "'powersave'" in text
    assert "unstable" in text and "33.3 %" in text
    calm = replace(report, device=replace(report.device, load=0.1, governor="performance"), load_after=0.2)
    assert not any("running" in warning or "governor" in warning for warning in calm.warnings)


def test_what_was_not_measured_is_said(report) -> None:
    assert report.torch is None
    assert "needs the run directory" in report.as_text()
    assert json.loads(report.as_json())["cold_start"] is None


def test_a_scaled_torch_baseline_says_from_how_many_rows(report) -> None:
    plain = report.batches[0].rows[SESSION]
    jacobians = (JacobianTime("the last convolution", 6, 6, 5.0), JacobianTime("the input", 6, 2, 9000.0))
    text = replace(report, torch=TorchLatency(plain, jacobians, 3e-7, 1.5, 1), torch_note="").as_text()
    assert "exact Jacobian at the input: 9,000 ms" in text
    assert "scaled from 2 of 6 rows" in text and text.count("scaled from") == 1
    assert "agrees with the bundle's to 3e-07" in text


def test_torch_is_held_against_the_jacobian_norm_and_not_against_its_logarithm(
    tiny_bundle, fake_clock, tmp_path, monkeypatch
) -> None:
    seen = []

    def measured(*_, labels, jacobian, **__):
        seen.append(jacobian)
        raise EdgeosrError("enough")

    monkeypatch.setattr("edgeosr.bench.latency.measure_torch", measured)
    report = measure_latency(tiny_bundle, replace(QUICK, run=tmp_path), clock=fake_clock)
    assert report.torch_note == "not taken: enough"
    bundle = read_bundle(tiny_bundle)
    frames = frames_from_bundle(bundle, frame_size(bundle.manifest, None), QUICK.seed)
    with Runtime(tiny_bundle) as runtime:
        verdict = runtime(frames[0])
    assert seen == [pytest.approx(np.exp(verdict.parts["log_jacobian"]), rel=1e-6)]


def test_a_run_that_is_not_there_is_a_note_and_not_the_end(tiny_bundle, fake_clock, tmp_path) -> None:
    report = measure_latency(tiny_bundle, replace(QUICK, run=tmp_path / "no-run"), clock=fake_clock)
    assert report.torch is None
    assert report.torch_note.startswith("not taken: ") and "no-run" in report.torch_note


def test_graphs_that_disagree_are_not_timed(tiny_bundle, make_graph) -> None:
    model = make_graph()
    frames = [frames_from_bundle(read_bundle(tiny_bundle), (16, 16), 0)]
    other = open_session(plain_classifier(make_graph(seed=9)), 1)
    with Runtime(tiny_bundle, threads=1) as runtime:
        whole = open_session(model, 1)
        require_equal_verdicts(runtime, whole, open_session(plain_classifier(model), 1), frames)
        with pytest.raises(BundleError, match=r"plain classifier.*nothing is timed"):
            require_equal_verdicts(runtime, whole, other, frames)
        with pytest.raises(BundleError, match="scores differ: nothing is timed"):
            require_equal_verdicts(runtime, open_session(make_graph(seed=9), 1), other, frames)


def test_a_bundle_without_the_promised_tensors_is_refused_before_timing(
    make_bundle, make_graph, fake_clock
) -> None:
    with pytest.raises(BundleError, match="ArgMin"):
        measure_latency(make_bundle(make_graph(label_operator="ArgMin")), QUICK, clock=fake_clock)
    assert fake_clock.now == 0


def test_frames_are_the_golden_ones_and_then_noise_the_same_for_one_seed(tiny_bundle) -> None:
    whole, four = read_bundle(tiny_bundle), io.BytesIO()
    golden = np.random.default_rng(1).integers(0, 256, (4, 16, 16, 3), np.uint8)
    np.testing.assert_array_equal(frames_from_bundle(whole, (16, 16), 3)[:4], golden)
    np.savez(four, frames=golden)
    bundle = replace(whole, files={**whole.files, "golden.npz": four.getvalue()})
    frames = frames_from_bundle(bundle, (16, 16), 3)
    assert frames.shape == (INPUTS, 16, 16, 3) and frames.dtype == np.uint8
    np.testing.assert_array_equal(frames[:4], golden)
    np.testing.assert_array_equal(frames, frames_from_bundle(bundle, (16, 16), 3))
    assert (frames[4:] != frames_from_bundle(bundle, (16, 16), 4)[4:]).any()


def test_another_frame_size_than_the_fixed_one_is_refused(make_bundle) -> None:
    manifest = read_bundle(make_bundle(frame=(24, 20))).manifest
    assert frame_size(manifest, None) == frame_size(manifest, (24, 20)) == (24, 20)
    with pytest.raises(FrameError, match="24x20 only; got 20x24"):
        frame_size(manifest, (20, 24))


def test_without_a_wish_the_frame_has_the_network_s_size(tiny_bundle) -> None:
    manifest = read_bundle(tiny_bundle).manifest
    assert frame_size(manifest, None) == (16, 16)
    assert frame_size(manifest, (480, 640)) == (480, 640)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batches": ()}, "batches must be distinct"),
        ({"batches": (1, 1)}, "batches must be distinct"),
        ({"batches": (0,)}, "batch must be a whole number from 1 to 1024; got 0"),
        ({"runs": 0}, "runs must be"),
        ({"warmup": -1}, "warmup must be"),
        ({"threads": 0}, "threads must be"),
        ({"duration_s": 0.0}, "duration_s must be above 0"),
        ({"torch_s": float("nan")}, "torch_s must be above 0"),
        ({"rate_hz": -1.0}, "rate_hz must be"),
        ({"frame": (0, 5)}, "frame height must be"),
        ({"processes": 101}, "processes must be"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(change, message) -> None:
    with pytest.raises(UsageError, match=message):
        LatencySettings(**change)
