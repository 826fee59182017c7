"""``edgeosr export --jacobian probes``: J_u from tangents is calibrated, shipped and evaluated as J_z is."""

import json

import numpy as np
import onnx
import pytest
import torch

from edgeosr import Runtime
from edgeosr.bench.quality import evaluate_bundle
from edgeosr.bench.quality_settings import QualitySettings
from edgeosr.bundle.directory import read_bundle
from edgeosr.cli.bundle_report import text_from_bundle
from edgeosr.data.recorded import reopen_parts
from edgeosr.export.export_run import export_run
from edgeosr.export.measure import GraphRunner
from edgeosr.export.settings import ExportSettings
from edgeosr.runtime.golden import read_golden
from edgeosr.scoring.reference import reference_scores
from edgeosr.scoring.scorer_file import read_scorer

PROBES = 4


@pytest.fixture(scope="module")
def report(digits_run, tmp_path_factory):
    """Four random probes at the input, the paper's h."""
    out = tmp_path_factory.mktemp("probes") / "probes.edgeosr"
    return export_run(digits_run, ExportSettings(jacobian="probes", probes=PROBES, out=out))


@pytest.fixture(scope="module")
def bundle(report):
    return read_bundle(report.path)


@pytest.fixture(scope="module")
def parts(bundle):
    return reopen_parts(bundle.manifest.data)[1]


def exposed(bundle, frames):
    """Return the shipped graph's outputs by name, its embedding and tangents with them."""
    model = onnx.load_model_from_string(bundle.files["model.onnx"])
    names = ("embedding", "tangents", "pixels")
    for name in names:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    runner = GraphRunner(model.SerializeToString(), extra_outputs=names)
    return dict(zip(("label", "score", "values", *names), runner.run(frames), strict=True))


def test_the_runtimes_scores_are_the_float64_reference_of_the_shipped_tangents(bundle, parts):
    frames = np.stack([parts.test.read(i) for i in range(24)])
    got = exposed(bundle, frames)
    scorer = read_scorer(bundle.files["scorer.npz"])
    assert scorer.probes is not None
    assert (scorer.probes.K, scorer.probes.n) == (PROBES, 3 * 16 * 16)
    assert scorer.closed_form is None
    expected = reference_scores(scorer, embedding=got["embedding"], tangents=got["tangents"])
    with Runtime(bundle.path) as runtime:
        verdicts = runtime(frames)
    scores = np.array([verdict.score for verdict in verdicts])
    np.testing.assert_allclose(scores, expected["score"], atol=2e-4)
    np.testing.assert_allclose(got["values"], expected["values"], rtol=2e-4, atol=2e-4)
    assert [verdict.index for verdict in verdicts] == expected["label"].tolist()
    clear = np.abs(expected["score"] - scorer.threshold) > 1e-3
    accepted = np.array([verdict.accepted for verdict in verdicts])
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(accepted[clear], expected["accepted"][clear])


def test_the_shipped_tangents_are_torchs_derivatives_of_the_trained_network(digits_run, bundle, parts):
    from edgeosr.export.tangents.probes import random_directions
    from edgeosr.model.classifier import load_classifier

    backbone = load_classifier(digits_run).backbone.double().eval()
    got = exposed(bundle, np.stack([parts.test.read(i) for i in range(2)]))
    directions = torch.from_numpy(random_directions(PROBES, 768, 0)).double().reshape(PROBES, 3, 16, 16)
    for image, tangents in zip(got["pixels"], got["tangents"].transpose(1, 0, 2), strict=True):
        x = torch.from_numpy(image).double()[None]
        jacobian = torch.autograd.functional.jacobian(lambda h: backbone(h)[0], x)[:, 0]
        expected = torch.einsum("dchw,kchw->kd", jacobian, directions).numpy()
        np.testing.assert_allclose(tangents, expected, atol=1e-4 * np.abs(expected).max())


def test_the_manifest_and_inspect_say_which_norm_and_with_respect_to_what(bundle, report):
    record = bundle.manifest.jacobian
    assert (record.method, record.kind) == ("probes", "J_u")
    assert record.probes is not None
    assert (record.probes.cut, record.probes.family) == ("input", "random")
    assert (record.probes.K, record.probes.n, record.probes.seed) == (PROBES, 768, 0)
    assert record.probes.errors == ()
    said = text_from_bundle(bundle)
    assert "J_u = |du/dh|" in said
    assert "the normalised network input" in said and "3x16x16" in said
    assert "along 4 random directions times n/K, an unbiased estimate of the whole (n = 768" in said
    assert "J_u, 4 random probes" in report.as_text()


def test_the_norm_takes_part_in_fusion_threshold_and_evaluation(bundle, report, tmp_path):
    assert "log_jacobian" in bundle.manifest.parts
    quality = evaluate_bundle(report.path, QualitySettings(out=tmp_path / "evaluation"))
    plain = json.loads(quality.as_json())
    assert plain["jacobian"]["kind"] == "J_u"
    assert "log_jacobian" in plain["scores"]
    assert quality.fused.auroc > 0.6


def test_golden_frames_give_the_recorded_scores(bundle):
    golden = read_golden(bundle.files["golden.npz"], bundle.manifest)
    frames = np.where(golden.bgr[:, None, None, None], golden.frames[..., ::-1], golden.frames)
    _, score, _ = GraphRunner(bundle.files["model.onnx"]).run(frames)
    np.testing.assert_allclose(score, golden.portable.score, atol=1e-5)
