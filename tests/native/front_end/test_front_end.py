"""The native front end gives the numbers of the graph's, which training and calibration saw."""

import ctypes
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))

from front_end_library import (
    BGR8,
    FORMATS,
    GRAY8,
    NV12,
    RGB8,
    SOURCES,
    YUYV,
    FrontEndLibrary,
    Planes,
    compiled,
    rgb_of,
    wide_rows,
)

from edgeosr.bundle.tensors import feed_of
from edgeosr.export.front_end.front_end import add_preprocessing
from edgeosr.preprocessing import FITS, Axis, Preprocessing
from edgeosr.runtime.sessions import SessionSettings, open_session

# In grey levels of 0..255.
TOLERANCE = 1e-3
# A value this near to a half is rounded up or down by its last bits.
NEAR_A_HALF = 1e-3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> FrontEndLibrary:
    return FrontEndLibrary(tmp_path_factory.mktemp("front_end"))


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def graph_pixels(preprocessing: Preprocessing, frame: NDArray[np.uint8]) -> NDArray[Any]:
    shape = ["N", 3, preprocessing.height, preprocessing.width]
    x, kind = onnx.helper.make_tensor_value_info("x", 1, shape), onnx.TensorProto.FLOAT
    y = onnx.helper.make_tensor_value_info("y", kind, shape)
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = ir.from_proto(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9))
    add_preprocessing(model, preprocessing, frame=(frame.shape[0], frame.shape[1]))
    session = open_session(ir.to_proto(model).SerializeToString(), SessionSettings(threads=1))
    found: NDArray[Any] = session.run(None, feed_of(frame[None]))[0][0]
    return found


def grey_levels(preprocessing: Preprocessing, difference: NDArray[Any]) -> NDArray[Any]:
    std = preprocessing.std if preprocessing.color == "rgb" else preprocessing.std[::-1]
    return np.abs(difference) * 255 * np.array(std)[:, None, None]


def matrix(axis: Axis, frame: int, size: int) -> NDArray[np.float64]:
    """The triangle filter as a matrix ``[size, frame]``, float64, written from its definition."""
    scale = axis.extent / axis.length
    support = max(scale, 1.0)
    centres = axis.start + (np.arange(axis.length)[:, None] + 0.5) * scale
    weights = np.maximum(0.0, support - np.abs(np.arange(frame) + 0.5 - centres))
    whole = np.zeros((size, frame))
    whole[axis.offset : axis.offset + axis.length] = weights / weights.sum(axis=1, keepdims=True)
    return whole


def exact_pixels(preprocessing: Preprocessing, frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What every fit without ``resize_to`` means, in float64."""
    rows, columns = preprocessing.axes(*frame.shape[:2])
    down = matrix(rows, frame.shape[0], preprocessing.height)
    across = matrix(columns, frame.shape[1], preprocessing.width)
    planes = np.einsum("ih,hwc,jw->cij", down, frame.astype(np.float64), across, optimize=True)
    mean, std = (np.array(each)[:, None, None] for each in (preprocessing.mean, preprocessing.std))
    planes = (planes / 255 - mean) / std
    return planes if preprocessing.color == "rgb" else planes[::-1]


SIZES = [(480, 640), (65, 97), (31, 33), (224, 224), (1, 1), (1, 7), (7, 1), (2, 300), (1080, 1920)]


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_fit_is_its_formula_in_float64(
    library: FrontEndLibrary, fit: Any, height: int, width: int
) -> None:
    frame = noise(height, width)
    for network, color in (((112, 112), "bgr"), ((97, 61), "rgb"), ((1, 1), "rgb"), ((5, 33), "rgb")):
        preprocessing = Preprocessing(
            height=network[0], width=network[1], fit=fit, mean=MEAN, std=STD, color=color
        )
        difference = library.pixels(preprocessing, Planes(frame)) - exact_pixels(preprocessing, frame)
        assert grey_levels(preprocessing, difference).max() < TOLERANCE


CROPS = [{"fit": "crop"}, {"fit": "stretch"}, {"fit": "letterbox"}, {"fit": "crop", "crop_fraction": 0.875}]


@pytest.mark.parametrize("how", CROPS, ids=str)
@pytest.mark.parametrize(("height", "width"), [(480, 640), (51, 35), (64, 48), (32, 48)])
def test_every_fit_is_what_the_graph_makes(
    library: FrontEndLibrary, how: dict[str, Any], height: int, width: int
) -> None:
    preprocessing = Preprocessing(height=64, width=48, mean=MEAN, std=STD, color="bgr", **how)
    frame = noise(height, width)
    difference = library.pixels(preprocessing, Planes(frame)) - graph_pixels(preprocessing, frame)
    assert grey_levels(preprocessing, difference).max() < TOLERANCE


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize(("height", "width"), [(480, 640), (51, 35), (256, 300), (64, 48), (1, 9)])
def test_a_resize_to_whole_pixels_rounds_as_the_graph_does(
    library: FrontEndLibrary, fit: Any, height: int, width: int
) -> None:
    preprocessing = Preprocessing(height=48, width=64, fit=fit, resize_to=72)
    frame = noise(height, width)
    difference = library.pixels(preprocessing, Planes(frame)) - graph_pixels(preprocessing, frame)
    levels = grey_levels(preprocessing, difference)
    # A half that falls the other way in the first pass moves the pixels under it, by one level at most.
    assert levels.max() < 1 + TOLERANCE
    assert (levels > TOLERANCE).mean() < NEAR_A_HALF


def test_a_frame_of_the_networks_size_passes_unchanged(library: FrontEndLibrary) -> None:
    frame = noise(33, 61)
    for fit in FITS:
        pixels = library.pixels(Preprocessing(height=33, width=61, fit=fit), Planes(frame))
        np.testing.assert_array_equal((pixels * 255).round().astype(np.uint8), frame.transpose(2, 0, 1))


def test_the_border_of_a_letterbox_is_black_before_it_is_normalised(library: FrontEndLibrary) -> None:
    preprocessing = Preprocessing(height=40, width=40, fit="letterbox", mean=MEAN, std=STD)
    pixels = library.pixels(preprocessing, Planes(np.full((10, 40, 3), 255, np.uint8)))
    black, white = ((value - np.array(MEAN)) / STD for value in (0, 1))
    np.testing.assert_allclose(pixels[:, 0, 0], black, rtol=1e-5)
    np.testing.assert_allclose(pixels[:, 14], np.repeat(black[:, None], 40, 1), rtol=1e-5)
    np.testing.assert_allclose(pixels[:, 15], np.repeat(white[:, None], 40, 1), rtol=1e-5)
    assert np.isfinite(pixels).all()


def planes_in(pixel_format: int, height: int, width: int, more: int) -> tuple[Planes, NDArray[np.uint8]]:
    """A frame of noise in a format, ``more`` bytes a row too many, and the RGB8 frame that it stands for."""
    rng = np.random.default_rng(height * width + pixel_format)

    def bytes_of(*shape: int) -> NDArray[np.uint8]:
        return rng.integers(0, 256, shape, dtype=np.uint8)

    if pixel_format in (RGB8, BGR8):
        frame = bytes_of(height, width, 3)
        rgb = frame if pixel_format == RGB8 else np.ascontiguousarray(frame[..., ::-1])
        return Planes(wide_rows(frame, more)), rgb
    y = bytes_of(height, width)
    rows, columns = np.arange(height), np.arange(width)
    if pixel_format == GRAY8:
        return Planes(wide_rows(y, more)), np.repeat(y[..., None], 3, axis=2)
    if pixel_format == NV12:
        chroma = bytes_of((height + 1) // 2, (width + 1) // 2, 2)
        u, v = chroma[rows // 2][:, columns // 2].transpose(2, 0, 1)
        return Planes(wide_rows(y, more), wide_rows(chroma, 2 * more)), rgb_of(y, u, v)
    packed = bytes_of(height, width // 2, 4)
    y = packed[:, :, [0, 2]].reshape(height, width)
    u, v = packed[:, columns // 2][:, :, [1, 3]].transpose(2, 0, 1)
    return Planes(wide_rows(packed, more)), rgb_of(y, u, v)


HOWS = (
    Preprocessing(height=30, width=20, mean=MEAN, std=STD),
    Preprocessing(height=30, width=20, resize_to=40, mean=MEAN, std=STD, color="bgr"),
)


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize(("height", "width"), [(48, 64), (2, 2), (31, 46), (1, 2), (37, 21), (1, 1)])
@pytest.mark.parametrize("more", [0, 7])
def test_a_format_gives_the_pixels_of_its_rgb_frame_bit_for_bit(
    library: FrontEndLibrary, pixel_format: int, height: int, width: int, more: int
) -> None:
    if pixel_format == YUYV:
        width += width % 2
    planes, rgb = planes_in(pixel_format, height, width, more)
    for preprocessing in HOWS:
        found = library.pixels(preprocessing, planes, (height, width), pixel_format)
        np.testing.assert_array_equal(found, library.pixels(preprocessing, Planes(rgb)))


def test_black_white_and_pure_colours_keep_their_places_in_yuv() -> None:
    y, u, v = (
        np.array([row], np.uint8) for row in ([16, 235, 81, 255], [128, 128, 90, 0], [128, 128, 240, 255])
    )
    np.testing.assert_array_equal(
        rgb_of(y, u, v)[0], [[0, 0, 0], [255, 255, 255], [254, 0, 0], [255, 225, 20]]
    )


@pytest.mark.parametrize("taps", [1, 2, 3, 4, 5, 11])
def test_every_instruction_set_gives_the_same_numbers(library: FrontEndLibrary, taps: int) -> None:
    rng = np.random.default_rng(taps)
    found = []
    for count in (3, 51, 300):
        image = rng.integers(0, 256, (taps, count), dtype=np.uint8)
        weights = rng.random(taps).astype(np.float32)
        row = np.zeros(count + 16, np.float32)
        row[:count] = rng.uniform(0, 255, count)
        for which in range(library.calls.front_end_passes()):
            mid, planes = np.empty(count, np.float32), np.empty((3, 10), np.float32)
            packed = np.empty((10, 3), np.uint8)
            pointers = [ctypes.c_void_p(each.ctypes.data) for each in (image, weights, mid)]
            library.calls.front_end_down(which, pointers[0], taps, count, *pointers[1:])
            pointers = [ctypes.c_void_p(each.ctypes.data) for each in (row, planes, packed)]
            library.calls.front_end_across(which, pointers[0], count // 3, 10, *pointers[1:])
            np.testing.assert_allclose(mid, weights.astype(float) @ image, rtol=1e-5)
            np.testing.assert_array_equal(packed, np.floor(planes.T.astype(np.float64) + 0.501))
            found.append((count, planes))
    for count, planes in found:
        first = next(other for size, other in found if size == count)
        np.testing.assert_allclose(planes, first, rtol=1e-5)


def test_nothing_outside_the_frame_and_the_scratch_is_touched(tmp_path: Path) -> None:
    fuzz = Path(__file__).with_name("fuzz.cpp")
    sanitizers = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    program = compiled(tmp_path / "fuzz", *sanitizers, fuzz, *SOURCES)
    done = subprocess.run([str(program), "300"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "300 frames\n"
