"""What an engine must say comes from the backbone's own outputs, and from no others."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from typed_bundle import sample_frames

from edgeosr.bundle.directory import Bundle
from edgeosr.bundle.manifest import BACKBONE
from edgeosr.bundle.scorer import bundle_scorer
from edgeosr.errors import BundleError
from edgeosr.runtime.golden import read_golden
from edgeosr.runtime.typed_expected import typed_expected

HALVES = [("closed-form", "map"), ("probes", "tangents"), ("none", "embedding")]


@pytest.mark.parametrize(("method", "_"), HALVES)
def test_it_says_again_what_was_recorded(typed_bundle: Callable[..., Bundle], method: str, _: str) -> None:
    bundle = typed_bundle(method)
    golden = read_golden(bundle.files["golden.npz"], bundle.manifest)
    scorer = bundle_scorer(bundle)
    again = typed_expected(bundle.files[BACKBONE], scorer, golden.frames, golden.bgr, golden.size)
    assert golden.typed is not None
    for name, array in vars(golden.typed).items():
        np.testing.assert_allclose(getattr(again, name), array, atol=1e-5)


@pytest.mark.parametrize(("method", "output"), HALVES)
def test_a_backbone_with_other_outputs_is_refused_in_words(
    typed_bundle: Callable[..., Bundle], method: str, output: str
) -> None:
    bundle = typed_bundle(method)
    model = onnx.load_from_string(bundle.files[BACKBONE])
    names = [value.name for value in model.graph.output]
    value = model.graph.output[names.index(output)]
    value.name = "surprise"
    model.graph.node.append(onnx.helper.make_node("Identity", [output], ["surprise"]))
    frames = sample_frames(2)
    with pytest.raises(BundleError, match=rf"must have the outputs .*{output}.*; got .*surprise.*; export"):
        typed_expected(
            model.SerializeToString(),
            bundle_scorer(bundle),
            frames,
            np.array([False, True]),
            frames.shape[1:3],
        )


def test_a_backbone_that_gives_other_than_one_row_a_frame_is_refused(
    typed_bundle: Callable[..., Bundle],
) -> None:
    bundle = typed_bundle("none")
    model = onnx.load_from_string(bundle.files[BACKBONE])
    # The batch twice over: two rows a frame.
    for node in model.graph.node:
        node.output[:] = ["once" if name == "embedding" else name for name in node.output]
        node.input[:] = ["once" if name == "embedding" else name for name in node.input]
    model.graph.node.append(onnx.helper.make_node("Concat", ["once", "once"], ["embedding"], axis=0))
    frames = sample_frames(2)
    with pytest.raises(BundleError, match=r"must give one row a frame, 1 here; got .*\[2, "):
        typed_expected(
            model.SerializeToString(),
            bundle_scorer(bundle),
            frames,
            np.array([False, True]),
            frames.shape[1:3],
        )
