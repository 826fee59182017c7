import functools

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from PIL import Image

from edgeosr.bundle.tensors import feed_of
from edgeosr.errors import ExportError
from edgeosr.export.front_end.front_end import add_preprocessing
from edgeosr.export.graph.assemble import model_bytes
from edgeosr.preprocessing import FITS, Preprocessing

# What a resize may be made of: all are in the operator list of TensorRT's ONNX parser.
TENSORRT_OPERATORS = {
    *("Abs", "Add", "Cast", "Concat", "Div", "Equal", "Floor", "Gather", "Identity", "MatMul", "Max", "Min"),
    *("Mul", "Pad", "Range", "ReduceSum", "Relu", "Reshape", "Shape", "Slice", "Sub", "Transpose"),
}
PILLOW_TOLERANCE = 0.5  # mean absolute difference, in 1/255
ROUNDED_ALIKE = 0.1  # the same, where the graph rounds as Pillow does: ties fall either way


def identity_classifier(height, width, *, batch="N", name="x", opset=18):
    shape = [batch, 3, height, width]
    x = ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape))
    node = ir.Node("", "Identity", [x])
    output = node.outputs[0]
    output.name, output.dtype, output.shape = "y", ir.DataType.FLOAT, ir.Shape(shape)
    return ir.Model(ir.Graph([x], [output], nodes=[node], opset_imports={"": opset}, name="g"), ir_version=10)


@functools.lru_cache(maxsize=64)
def front_end(preprocessing, frame=None):
    model = identity_classifier(preprocessing.height, preprocessing.width)
    add_preprocessing(model, preprocessing, frame=frame)
    return model_bytes(model)


@functools.lru_cache(maxsize=64)
def session_of(preprocessing, frame=None):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        front_end(preprocessing, frame), options, providers=["CPUExecutionProvider"]
    )


def pixels_of(preprocessing, frames, fixed=False, **feeds):
    session = session_of(preprocessing, frames.shape[1:3] if fixed else None)
    return session.run(None, {**feed_of(frames), **feeds})[0]


def photo(height, width, seed=0):
    """Return a photo-like frame: noise of every octave, energy falling with frequency, and hard edges."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    cells = 2
    while cells < 2 * max(height, width):
        grid = rng.integers(0, 256, (min(cells, height), min(cells, width), 3), dtype=np.uint8)
        total += (
            np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)) / cells**0.5
        )
        cells *= 2
    total = 255 * (total - total.min()) / max(np.ptp(total), 1e-9)
    total[height // 3 : height // 2, width // 4 : width // 2] = (250, 10, 128)
    return total.round().astype(np.uint8)


def difference(preprocessing, frame, **options):
    """Return the mean absolute difference from Pillow, in 1/255."""
    got = pixels_of(preprocessing, frame[None], **options)[0]
    return np.abs(got * 255 - preprocessing.resize(frame).transpose(2, 0, 1)).mean()


SIZES = [(64, 64), (65, 97), (240, 320), (480, 640), (641, 481), (720, 1280), (1080, 1920)]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_frame_shrinks_as_pillow_shrinks_it(fit, height, width):
    frame = photo(height, width)
    for network in ((224, 224), (32, 32), (97, 61)):
        preprocessing = Preprocessing(height=network[0], width=network[1], fit=fit)
        assert difference(preprocessing, frame) <= PILLOW_TOLERANCE


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("height", "width"), [(8, 8), (1, 1), (1, 7), (5, 3), (28, 28), (3, 200), (31, 33)])
def test_small_and_odd_frames_are_resized_as_pillow_does_it(fit, height, width):
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for network in ((32, 32), (33, 18), (1, 1), (5, 1)):
        preprocessing = Preprocessing(height=network[0], width=network[1], fit=fit)
        assert difference(preprocessing, frame) <= PILLOW_TOLERANCE
        assert difference(preprocessing, frame, fixed=True) <= PILLOW_TOLERANCE


def test_the_tolerance_tells_an_aliasing_resize_apart():
    frame = photo(480, 640)
    rows, columns = (np.arange(32) * 15 + 7), (np.arange(32) * 20 + 10)
    expected = np.asarray(Image.fromarray(frame).resize((32, 32), Image.Resampling.BILINEAR)).astype(float)
    assert np.abs(frame[rows][:, columns] - expected).mean() > 4 * PILLOW_TOLERANCE
    np.testing.assert_array_equal(Preprocessing(height=32, width=32, fit="stretch").resize(frame), expected)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("fixed", [False, True])
def test_a_frame_of_the_networks_size_passes_unchanged(fit, fixed):
    frame = np.random.default_rng(0).integers(0, 256, (1, 45, 62, 3), dtype=np.uint8)
    got = pixels_of(Preprocessing(height=45, width=62, fit=fit), frame, fixed=fixed)
    np.testing.assert_array_equal(got, frame.transpose(0, 3, 1, 2).astype(np.float32) * np.float32(1 / 255))


@pytest.mark.parametrize("fit", FITS)
def test_a_fixed_frame_of_the_networks_size_has_no_resize_nodes(fit):
    proto = onnx.load_model_from_string(front_end(Preprocessing(height=32, width=48, fit=fit), (32, 48)))
    assert [node.op_type for node in proto.graph.node] == [
        "Cast",
        "Transpose",
        "Gather",
        "Mul",
        "Add",
        "Identity",
    ]


def test_a_crop_that_needs_no_resize_is_a_slice():
    preprocessing = Preprocessing(height=32, width=32)
    frame = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), dtype=np.uint8)
    got = pixels_of(preprocessing, frame, fixed=True)
    expected = frame[:, :, 8:40].transpose(0, 3, 1, 2).astype(np.float32) * np.float32(1 / 255)
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(pixels_of(preprocessing, frame), expected)
    proto = onnx.load_model_from_string(front_end(preprocessing, (32, 48)))
    assert "MatMul" not in {node.op_type for node in proto.graph.node}


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(480, 640), (101, 57), (20, 20), (224, 300), (300, 224), (721, 1279)])
def test_fixed_and_dynamic_frames_give_the_same_pixels(fit, size):
    frame = photo(*size)[None]
    for network in ((224, 224), (30, 50)):
        preprocessing = Preprocessing(height=network[0], width=network[1], fit=fit, crop_fraction=0.875)
        fixed, dynamic = (pixels_of(preprocessing, frame, fixed=fixed) for fixed in (True, False))
        np.testing.assert_allclose(dynamic, fixed, atol=0.02 / 255)


def test_a_cropped_fraction_is_that_of_pillow():
    preprocessing = Preprocessing(height=64, width=48, crop_fraction=0.8)
    for fixed in (False, True):
        assert difference(preprocessing, photo(300, 401), fixed=fixed) <= PILLOW_TOLERANCE


@pytest.mark.parametrize("fixed", [False, True])
def test_frames_of_a_batch_do_not_touch_each_other(fixed):
    preprocessing = Preprocessing(height=33, width=40)
    frames = np.stack([photo(90, 120, seed) for seed in range(3)])
    whole = pixels_of(preprocessing, frames, fixed=fixed)
    for row in range(3):
        np.testing.assert_array_equal(
            pixels_of(preprocessing, frames[row : row + 1], fixed=fixed)[0], whole[row]
        )


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_normalisation_and_channel_order_are_those_of_training(color):
    preprocessing = Preprocessing(
        height=16, width=16, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125), color=color
    )
    frame = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    rgb = (frame.astype(np.float64) / 255 - preprocessing.mean) / preprocessing.std
    expected = (rgb if color == "rgb" else rgb[..., ::-1]).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(pixels_of(preprocessing, frame), expected, rtol=1e-5, atol=1e-6)
    swapped = np.ascontiguousarray(frame[..., ::-1])
    got = pixels_of(preprocessing, swapped, channel_order=np.array([2, 1, 0]))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fixed", [False, True])
def test_the_borders_of_a_letterbox_are_black_before_normalisation(fixed):
    preprocessing = Preprocessing(
        height=40, width=40, fit="letterbox", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1)
    )
    got = pixels_of(preprocessing, np.full((1, 30, 60, 3), 255, np.uint8), fixed=fixed)[0]
    black = (-np.array(preprocessing.mean) / preprocessing.std).astype(np.float32).reshape(3, 1, 1)
    white = ((1 - np.array(preprocessing.mean)) / preprocessing.std).reshape(3, 1, 1)
    assert (got[:, :10] == black).all() and (got[:, 30:] == black).all()
    np.testing.assert_allclose(got[:, 10:30], np.broadcast_to(white, (3, 20, 40)), rtol=1e-5)


@pytest.mark.parametrize(
    ("fit", "resize_to"), [*((fit, None) for fit in FITS), ("crop", 256), ("stretch", 256)]
)
@pytest.mark.parametrize("frame", [None, (480, 640)])
def test_only_operators_that_tensorrt_takes_are_used(fit, resize_to, frame):
    for network in ((224, 224), (31, 33)):
        preprocessing = Preprocessing(height=network[0], width=network[1], fit=fit, resize_to=resize_to)
        proto = onnx.load_model_from_string(front_end(preprocessing, frame))
        assert {node.op_type for node in proto.graph.node} <= TENSORRT_OPERATORS
        assert {node.domain for node in proto.graph.node} == {""}
        # TensorRT's parser: "Found unsupported input type of UINT8" for any other node.
        assert [node.op_type for node in proto.graph.node if "frames" in node.input] == ["Cast"]


def test_a_fixed_frame_computes_no_weights_while_running():
    proto = onnx.load_model_from_string(front_end(Preprocessing(height=224, width=224), (480, 640)))
    assert not {"Shape", "Range", "Floor"} & {node.op_type for node in proto.graph.node}
    assert [size.dim_value for size in proto.graph.input[0].type.tensor_type.shape.dim[1:]] == [480, 640, 3]


def test_the_taps_gathered_are_little_more_than_the_frame():
    """Memory: a pass gathers 1 + 1/BLOCK times the rows, and a few rows a block more when it enlarges."""
    for height, network in ((1080, 224), (2160, 32), (480, 224), (8, 224)):
        preprocessing = Preprocessing(height=network, width=network, fit="stretch")
        model = ir.from_proto(onnx.load_model_from_string(front_end(preprocessing)))
        gathered = (
            next(node.outputs[0] for node in model.graph if node.op_type == "MatMul").producer().inputs[1]
        )
        gathered.dtype, gathered.shape = ir.DataType.FLOAT, ir.Shape(["b", "blocks", "taps", "rest"])
        model.graph.outputs.append(gathered)
        running = onnxruntime.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
        rows = running.run([gathered.name], feed_of(np.zeros((1, height, 16, 3), np.uint8)))[0]
        assert rows.shape[1] * rows.shape[2] <= 1.26 * height + 6 * np.ceil(network / 4)


@pytest.mark.parametrize("opset", [13, 20])
def test_other_opsets_give_the_same_pixels(opset):
    preprocessing = Preprocessing(height=32, width=32)
    model = identity_classifier(32, 32, opset=opset)
    add_preprocessing(model, preprocessing)
    session = onnxruntime.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
    frame = photo(100, 120)[None]
    np.testing.assert_array_equal(session.run(None, feed_of(frame))[0], pixels_of(preprocessing, frame))


def test_a_classifier_may_use_our_names_and_keeps_a_fixed_batch():
    model = identity_classifier(8, 8, batch=1, name="frames")
    model.graph[0].outputs[0].name = "pixels"
    add_preprocessing(model, Preprocessing(height=8, width=8), "frames")
    session = onnxruntime.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == ["frames", "channel_order"]
    assert session.get_inputs()[0].shape == [1, "height", "width", 3]
    assert session.run(None, feed_of(np.full((1, 9, 9, 3), 255, np.uint8)))[0] == pytest.approx(1)


@pytest.mark.parametrize("frame", [None, (8, 8), (16, 20)])
def test_the_channel_order_is_a_required_input_without_a_default(frame):
    session = session_of(Preprocessing(height=8, width=8), frame)
    assert [given.name for given in session.get_inputs()] == ["frames", "channel_order"]
    assert session.get_overridable_initializers() == []
    with pytest.raises(ValueError, match="channel_order"):
        session.run(None, {"frames": np.zeros((1, *(frame or (8, 8)), 3), np.uint8)})


@pytest.mark.parametrize(
    ("model", "name", "message"),
    [
        (identity_classifier(16, 8), None, r"must be float32 \[batch, 3, 8, 8\]; got FLOAT \[N,3,16,8\]"),
        (identity_classifier(8, 8), "z", "no tensor named 'z'"),
        (identity_classifier(8, 8), "y", "'y' is not an input of the classifier; its inputs: x"),
        (identity_classifier(8, 8, opset=11), None, "opset must be 13 or later; got 11"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused(model, name, message):
    with pytest.raises(ExportError, match=message):
        add_preprocessing(model, Preprocessing(height=8, width=8), name)


def as_deployed(frame, resize_to, network, fit):
    """What torchvision's Resize and CenterCrop do, written down once more: resize whole, then cut."""
    height, width = frame.shape[:2]
    scale = resize_to / min(height, width)
    sides = (int(width * scale + 1e-9), int(height * scale + 1e-9))
    sides = sides if fit == "crop" else (resize_to, resize_to)
    whole = np.asarray(Image.fromarray(frame).resize(sides, Image.Resampling.BILINEAR))
    top, left = (round((whole.shape[axis] - network[axis]) / 2) for axis in (0, 1))
    return whole[top : top + network[0], left : left + network[1]]


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("size", [(128, 128), (480, 640), (641, 481), (50, 41), (1080, 1920)])
def test_a_frame_is_resized_and_then_cut_as_deployed_code_does_it(fit, size):
    frame = photo(*size)
    for network, resize_to in (((64, 64), 73), ((64, 64), 75), ((224, 224), 256), ((64, 48), 71)):
        preprocessing = Preprocessing(height=network[0], width=network[1], fit=fit, resize_to=resize_to)
        expected = as_deployed(frame, resize_to, network, fit)
        assert np.abs(preprocessing.resize(frame).astype(int) - expected).max() <= 1
        for fixed in (False, True):
            got = pixels_of(preprocessing, frame[None], fixed=fixed)[0] * 255
            assert np.abs(got - expected.transpose(2, 0, 1)).mean() <= ROUNDED_ALIKE
            assert np.abs(got - expected.transpose(2, 0, 1)).max() <= 2


@pytest.mark.parametrize("size", [(60, 90), (128, 128), (48, 48), (480, 640)])
def test_halves_are_rounded_alike_whether_the_weights_are_constants_or_computed(size):
    frame = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype=np.uint8)
    for network, resize_to in (((32, 48), 56), ((32, 32), 50), ((64, 64), 96)):
        preprocessing = Preprocessing(height=network[0], width=network[1], resize_to=resize_to)
        fixed, dynamic = (pixels_of(preprocessing, frame, fixed=fixed) for fixed in (True, False))
        assert np.mean(np.abs(fixed - dynamic) * 255 > 0.01) <= 5e-4
