"""How many probes, along what, from where: on a small classifier that needs no training."""

import contextlib
import dataclasses
import io
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeosr.cli import app as application
from edgeosr.data.catalogue import open_image_set
from edgeosr.errors import DataError, UsageError
from edgeosr.export import probing
from edgeosr.export.foreign.classifier import classifier_from_onnx
from edgeosr.export.graph.names import TANGENTS_BY_IMAGE
from edgeosr.export.measure import GraphRunner
from edgeosr.export.probing import LARGEST_ERROR, make_probes
from edgeosr.export.scored_graph import scored_graph
from edgeosr.export.settings import ExportSettings
from edgeosr.export.tangents.probes import random_directions

SIDE, CHANNELS = 8, 12
KNOWN = ("2", "4", "5")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Two convolutions, a pool and a head of random weights, as one would be deployed."""
    rng = np.random.default_rng(3)
    arrays = {
        "first": rng.normal(0, 0.3, (8, 3, 3, 3)),
        "second": rng.normal(0, 0.3, (CHANNELS, 8, 3, 3)),
        "head": rng.normal(0, 1, (len(KNOWN), CHANNELS)),
        "bias": np.zeros(len(KNOWN)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["y1"], "conv1", pads=[1] * 4),
        helper.make_node("Relu", ["y1"], ["a1"], "relu1"),
        helper.make_node("Conv", ["a1", "second"], ["y2"], "conv2", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["y2"], ["a2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["a2"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["features"], "flatten"),
        helper.make_node("Gemm", ["features", "head", "bias"], ["scores"], "gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "deployed",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", len(KNOWN)])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file = tmp_path_factory.mktemp("deployed") / "small.onnx"
    onnx.save(model, file)
    return file


@pytest.fixture(scope="module")
def classifier(path):
    return classifier_from_onnx(path, KNOWN, ExportSettings())


@pytest.fixture(scope="module")
def images():
    return open_image_set("digits").train.of_classes(KNOWN).subset(np.arange(90))


def probes(classifier, images, **changes):
    given = {"K": 2, "cut": "input", "family": "random", "seed": 0, "images": images}
    return make_probes(classifier, **{**given, **changes})


def at_cut(classifier, images, tensor):
    """Values of an internal tensor for each image, by the graph that edgeosr would ship."""
    runner = GraphRunner(scored_graph(classifier, "none").model(expose=(tensor,)), extra_outputs=(tensor,))
    return runner.measure_with_extras(images, "test")[1][0].reshape(len(images), -1).astype(np.float64)


@pytest.mark.parametrize(
    ("cut", "tensor", "n", "words"),
    [
        ("input", "image", 192, "the normalised network input, tensor image (3x8x8)"),
        ("last-stage", "a1", 512, "the input of the last stage, tensor a1 (8x8x8)"),
        ("last-conv", "a1", 512, "the input of the last convolution, tensor a1 (8x8x8)"),
        ("y2", "y2", 192, "the tensor y2 (12x4x4)"),
    ],
)
def test_a_cut_is_recorded_by_its_tensor_its_size_and_in_words(classifier, images, cut, tensor, n, words):
    made = probes(classifier, images, cut=cut, seed=5)
    assert (made.cut, made.tensor, made.n, made.K) == (cut, tensor, n, 2)
    assert made.with_respect_to == words
    np.testing.assert_array_equal(made.directions, random_directions(2, n, 5))
    assert made.errors == () and made.largest_error is None


@pytest.mark.parametrize(("cut", "tensor"), [("input", "pixels"), ("y2", "y2")])
def test_principal_directions_hold_as_much_variance_of_known_images_as_two_directions_can(
    classifier, images, cut, tensor
):
    made = probes(classifier, images, cut=cut, family="principal")
    centred = at_cut(classifier, images, tensor)
    centred -= centred.mean(axis=0)
    possible = np.square(np.linalg.svd(centred, compute_uv=False)[:2]).sum()
    held = np.square(centred @ made.directions.T.astype(np.float64)).sum()
    assert held == pytest.approx(possible, rel=1e-4)


def test_auto_takes_the_smallest_number_with_little_enough_noise_and_records_what_it_saw(classifier, images):
    made = probes(classifier, images, K="auto")
    tried = dict(made.errors)
    assert list(tried) == [1, 2, 4, 8, 16, 32][: len(tried)]
    assert made.largest_error == LARGEST_ERROR
    assert list(tried)[-1] == made.K
    assert tried[made.K] <= LARGEST_ERROR
    assert all(error > LARGEST_ERROR for K, error in tried.items() if made.K > K)
    np.testing.assert_allclose(made.directions, random_directions(made.K, 192, 0), atol=1e-6)


def test_the_noise_that_auto_records_is_what_other_seeds_really_do_to_log_j(classifier, images):
    recorded = dict(probes(classifier, images, K="auto").errors)[1]
    logs = []
    for seed in range(1, 9):
        runner = GraphRunner(
            scored_graph(classifier, "probes", probes(classifier, images, K=1, seed=seed)).model()
        )
        logs.append(runner.measure(images, "test").values[:, 0])
    table = np.stack(logs) - np.mean(logs, axis=1, keepdims=True)
    noise, spread = table.var(axis=0, ddof=1).mean(), table.var(axis=1, ddof=1).mean()
    assert np.sqrt(noise / spread) == pytest.approx(recorded, abs=0.12)


def test_a_smaller_share_needs_more_probes_and_the_largest_candidate_is_taken_if_none_reaches_it(
    classifier, images, monkeypatch
):
    monkeypatch.setattr(probing, "CANDIDATES", (1, 2, 4))
    monkeypatch.setattr(probing, "LARGEST_ERROR", 0.01)
    record = probes(classifier, images, K="auto")
    assert record.K == 4
    errors = [error for _, error in record.errors]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] > 0.01


def test_auto_makes_do_with_the_directions_that_known_images_vary_in(classifier, images, monkeypatch):
    monkeypatch.setattr(probing, "LARGEST_ERROR", 0.0)
    record = probes(classifier, images.subset(np.arange(10)), K="auto", family="principal")
    assert [K for K, _ in record.errors] == [1, 2, 4]
    assert record.K == 9


def test_auto_takes_the_whole_of_a_space_too_small_for_halves(classifier, images, monkeypatch):
    monkeypatch.setattr(probing, "LARGEST_ERROR", 0.0)
    record = probes(classifier, images, K="auto", cut="pooled")
    assert (record.K, record.n) == (CHANNELS, CHANNELS)
    assert [K for K, _ in record.errors] == [1, 2, 4]


def test_as_many_probes_as_the_space_has_give_the_same_norm_in_every_family(classifier, images):
    norms = []
    for family in ("random", "dct"):
        made = probes(classifier, images, K=192, family=family)
        graph = scored_graph(classifier, "probes", made)
        values = GraphRunner(graph.model()).measure(images.subset(np.arange(6)), "test").values
        norms.append(np.exp(values[:, 0]))
    np.testing.assert_allclose(*norms, rtol=1e-4)


def test_tangents_by_image_are_the_tangents_with_the_batch_in_front(classifier, images):
    graph = scored_graph(classifier, "probes", probes(classifier, images))
    names = (graph.tangents, TANGENTS_BY_IMAGE)
    runner = GraphRunner(graph.model(expose=names), extra_outputs=names)
    frames = np.stack([images.read(i) for i in range(3)])
    tangents, by_image = runner.run(frames)[3:]
    assert by_image.shape == (3, 2, CHANNELS)
    np.testing.assert_array_equal(by_image, tangents.transpose(1, 0, 2))


def test_a_graph_with_tangents_takes_fewer_frames_at_a_time_and_gives_the_same(classifier, images):
    seen = []

    class Watched(GraphRunner):
        def run(self, frames):
            seen.append(len(frames))
            return super().run(frames)

    Watched(scored_graph(classifier, "none").model()).measure(images, "test")
    Watched(scored_graph(classifier, "probes", probes(classifier, images, K=7)).model()).measure(
        images, "test"
    )
    assert seen == [64, 26, *[8] * 11, 2]


@pytest.mark.parametrize("size", [1e25, np.nan])
def test_tangents_that_leave_float32_make_the_score_nan_whatever_their_weight(classifier, images, size):
    made = probes(classifier, images)
    wild = dataclasses.replace(made, directions=made.directions * np.float32(size))
    measured = GraphRunner(scored_graph(classifier, "probes", wild).model()).measure(images, "test")
    assert np.isnan(measured.scores).all()
    assert np.isfinite(measured.values[:, 1:]).all()


def test_too_few_images_for_principal_directions_are_refused(classifier, images):
    with pytest.raises(DataError, match="need at least 6 known images; got 4"):
        probes(classifier, images.subset(np.arange(4)), K=5, family="principal")


def edgeosr(*arguments):
    """Run the command line in this process; return its exit code and everything it printed."""
    before, sys.argv = sys.argv, ["edgeosr", *map(str, arguments)]
    printed = io.StringIO()
    try:
        with (
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
            pytest.raises(SystemExit) as end,
        ):
            application.main()
    finally:
        sys.argv = before
    return end.value.code, printed.getvalue()


ASKED = ["--jacobian", "probes", "--probes", "2"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--probes", "4"], "--probes only mean something with --jacobian probes; got --jacobian closed"),
        (["--jacobian", "none", "--cut", "input"], "--cut only mean something with --jacobian probes"),
        (["--jacobian", "probes", "--probes", "four"], "a whole number from 1, or auto; got 'four'"),
        (["--jacobian", "probes", "--probes", "0"], "must be from 1 to 4096, or auto; got 0"),
        (["--jacobian", "probes", "--probes", "193"], "from 1 to 192, the size of the space at the cut"),
        (["--jacobian", "probes", "--probe-family", "randon"], "did you mean 'random'"),
        (["--jacobian", "probe"], "did you mean 'probes'"),
        ([*ASKED, "--cut", "last-conf"], "got 'last-conf'"),
        ([*ASKED, "--cut", "featurs"], "did you mean 'features'"),
        ([*ASKED, "--cut", "scores"], "must lead to the embedding"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_refused_without_a_traceback_or_half_a_bundle(
    path, options, said, tmp_path
):
    out = tmp_path / "no.edgeosr"
    code, printed = edgeosr(
        "export", path, "--data", "digits", "--known", ",".join(KNOWN), *options, "--out", out
    )
    # The terminal wraps lines: compare without white space.
    assert "".join(said.split()) in "".join(printed.split())
    assert code == 2
    assert "Traceback" not in printed
    assert not list(tmp_path.iterdir())


def odd(graph):
    """An operator that nobody has written a rule for."""
    graph.node[3].CopyFrom(helper.make_node("Hardmax", ["y2"], ["a2"], "odd_one", axis=1))


def whole(graph):
    """A way that leads through whole numbers alone."""
    graph.node[3].CopyFrom(helper.make_node("Cast", ["y2"], ["i2"], "to_whole", to=TensorProto.INT64))
    graph.node.insert(4, helper.make_node("Cast", ["i2"], ["a2"], "from_whole", to=TensorProto.FLOAT))


def quantised(graph):
    """A pair of Q and DQ before the last convolution."""
    graph.initializer.append(numpy_helper.from_array(np.float32(0.05), "step"))
    graph.initializer.append(numpy_helper.from_array(np.uint8(0), "zero"))
    graph.node[2].input[0] = "dq"
    graph.node.insert(2, helper.make_node("QuantizeLinear", ["a1", "step", "zero"], ["q"], "quantise"))
    graph.node.insert(3, helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["dq"], "restore"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (odd, ("odd_one", "Hardmax", "y2 -> a2", "add a rule", "--jacobian none")),
        (whole, ("to_whole", "no derivative", "--jacobian none")),
        (quantised, ("quantise", "QuantizeLinear", "pass the graph from before quantisation")),
    ],
)
def test_a_graph_without_a_derivative_is_refused_by_the_node_before_anything_is_trained(
    path, change, said, tmp_path
):
    model = onnx.load(path)
    change(model.graph)
    file = tmp_path / "odd.onnx"
    onnx.save(model, file)
    code, printed = edgeosr("export", file, "--data", "digits", "--known", ",".join(KNOWN), *ASKED)
    assert code == 1
    for words in said:
        assert "".join(words.split()) in "".join(printed.split())
    assert "training the discriminator" not in printed and "Traceback" not in printed
    assert [each.name for each in tmp_path.iterdir()] == ["odd.onnx"]


def test_settings_are_checked_when_made():
    with pytest.raises(UsageError, match="--probes and --cut only mean something"):
        ExportSettings(probes=2, cut="input")
    with pytest.raises(UsageError, match="got nothing"):
        ExportSettings(jacobian="probes", cut="")
