"""``model.onnx``, ``backbone.onnx``, ``body.onnx``: what goes in and out, checked before they are run."""

from edgeosr.bundle.backbone import ENDINGS, BackboneRecord
from edgeosr.bundle.body import BodyRecord
from edgeosr.bundle.manifest import BACKBONE, BODY, LARGEST_FILES, Manifest
from edgeosr.bundle.onnx.rules import OPEN, GraphContract, TensorContract, require_graph
from edgeosr.bundle.onnx.tensors import FLOAT, FLOAT16, INT64, UINT8
from edgeosr.bundle.onnx.wire import WireError
from edgeosr.bundle.tensors import (
    CHANNEL_ORDER,
    EMBEDDING,
    FRAMES,
    LABEL,
    LOGITS,
    MAP,
    PIXELS,
    SCORE,
    TANGENTS,
    VALUES,
)
from edgeosr.errors import BundleError, ExportError

MODEL = "model.onnx"


def require_graph_of_bundle(model: bytes, *, parts: int) -> None:
    """Check a scoring graph before anything else of its bundle is made.

    Args:
        model: the bytes of ``model.onnx``, for frames of any size.
        parts: number of score parts.

    Raises:
        ExportError: no bundle may have it; says what and where.
    """
    largest = LARGEST_FILES[MODEL]
    try:
        if len(model) > largest:
            raise WireError(f"it has {len(model)} bytes, and a bundle's has at most {largest}")
        require_graph(model, _contract(parts, None))
    except WireError as error:
        raise ExportError(
            f"the scoring graph of this classifier cannot be kept in a bundle, because {error}; export the "
            "classifier again without it; with probes of the image, take fewer (--probes) or a later --cut"
        ) from error


def require_graphs(manifest: Manifest, files: dict[str, bytes], where: str) -> None:
    """Check the graphs of a bundle.

    Args:
        manifest: checked.
        files: contents by name, all that the manifest lists.
        where: the bundle, for messages.

    Raises:
        BundleError: one is not a graph that a bundle may have; says what and where.
    """
    graphs = {MODEL: model_contract(manifest)}
    if manifest.backbone is not None:
        graphs[BACKBONE] = _backbone(manifest, manifest.backbone)
    if manifest.body is not None:
        graphs[BODY] = _body(manifest, manifest.body)
    for name, contract in graphs.items():
        try:
            require_graph(files[name], contract)
        except WireError as error:
            raise BundleError(
                f"{name} of {where} is not run, because {error}; export the bundle again, or get it again "
                "from where you trust it"
            ) from error


def _inputs(frame: tuple[int, int] | None) -> dict[str, TensorContract]:
    # Without a frame the runtime takes any, and a network of one size would fail on the others.
    height, width = frame or (OPEN, OPEN)
    return {
        FRAMES: TensorContract((UINT8,), (None, height, width, 3), open_axes=True),
        CHANNEL_ORDER: TensorContract((INT64,), (3,)),
    }


def model_contract(manifest: Manifest) -> GraphContract:
    """Return what goes in and comes out of ``model.onnx``."""
    return _contract(len(manifest.parts), manifest.frame)


def _contract(parts: int, frame: tuple[int, int] | None) -> GraphContract:
    return GraphContract(
        inputs=_inputs(frame),
        # Older bundles have one; the runtime gives the order all the same.
        defaults=frozenset({CHANNEL_ORDER}),
        outputs={
            LABEL: TensorContract((INT64,), (None,)),
            SCORE: TensorContract((FLOAT,), (None,)),
            VALUES: TensorContract((FLOAT,), (None, parts)),
        },
    )


def _backbone(manifest: Manifest, record: BackboneRecord) -> GraphContract:
    kind = (FLOAT16 if record.dtype == "float16" else FLOAT,)
    outputs = _network_outputs(manifest, record, kind)
    return GraphContract(inputs=_inputs(manifest.frame), outputs=outputs)


def _body(manifest: Manifest, record: BodyRecord) -> GraphContract:
    sides = (manifest.preprocessing.height, manifest.preprocessing.width)
    return GraphContract(
        inputs={PIXELS: TensorContract((FLOAT,), (None, 3, *sides), open_axes=True)},
        outputs=_network_outputs(manifest, record, (FLOAT,)),
    )


def _network_outputs(
    manifest: Manifest, record: BackboneRecord | BodyRecord, kind: tuple[int, ...]
) -> dict[str, TensorContract]:
    length, classes = manifest.embedding.dimension, len(manifest.classes)
    shapes = {
        MAP: (None, length, None, None),
        EMBEDDING: (None, length),
        TANGENTS: (None, None, length),
    }
    outputs = {
        name: TensorContract(kind, shapes[name], batch=1 if name == TANGENTS else 0)
        for name in ENDINGS[record.ending]
    }
    if record.logits:
        outputs[LOGITS] = TensorContract((FLOAT,), (None, classes))
    return outputs
