"""Normalised network inputs from images, through the front end that ships: for int8 and bf16."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgeosr.bundle.tensors import PIXELS, feed_of
from edgeosr.data.labelled_images import LabelledImages, evenly_spaced
from edgeosr.data.reading import readable_images
from edgeosr.errors import import_extra
from edgeosr.export.front_end.front_end import add_preprocessing
from edgeosr.export.graph.writer import import_onnx_ir
from edgeosr.preprocessing import Preprocessing
from edgeosr.runtime.sessions import SessionSettings, open_session, run_session

CALIBRATION_IMAGES = 256
BATCH = 8


def calibration_pixels(images: LabelledImages, preprocessing: Preprocessing) -> Iterator[NDArray[np.float32]]:
    """Yield batches of network inputs, float32 ``[b, 3, height, width]``, of images spread over the part.

    Args:
        images: training images; ``CALIBRATION_IMAGES`` of them are taken, evenly spaced.
        preprocessing: from frame to network input.

    Raises:
        DataError: more than 1 % of the images cannot be read.
    """
    # A resize of one image: nothing to share out.
    session = open_session(_front_end(preprocessing), SessionSettings(threads=1))
    chosen = evenly_spaced(len(images), CALIBRATION_IMAGES)
    waiting: list[NDArray[np.float32]] = []
    for _, image in readable_images(images.subset(chosen), description="calibrating", skipped=[]):
        waiting += run_session(session, ["output"], feed_of(image[None]), name="the front end")
        if len(waiting) == BATCH:
            yield np.concatenate(waiting)
            waiting.clear()
    # The histograms of one calibration need batches of one size; what is left over is fewer than a batch.
    if waiting and len(chosen) < BATCH:
        yield np.concatenate(waiting)


def _front_end(preprocessing: Preprocessing) -> bytes:
    onnx = import_extra("onnx", extra="export", purpose="preparing images")
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    shape = ["batch", 3, preprocessing.height, preprocessing.width]
    graph = make.make_graph(
        [make.make_node("Identity", ["x"], ["output"])],
        "front_end",
        [make.make_tensor_value_info("x", kind, shape)],
        [make.make_tensor_value_info("output", kind, shape)],
    )
    opsets = [make.make_opsetid("", 18)]
    model = import_onnx_ir().from_proto(make.make_model(graph, opset_imports=opsets, ir_version=9))
    add_preprocessing(model, preprocessing)
    assert any(value.name == PIXELS for node in model.graph for value in node.outputs)
    data: bytes = import_onnx_ir().to_proto(model).SerializeToString()
    return data
