"""Features of a frozen backbone for every image of a set: computed once a protocol, kept on disk."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bench.device import versions
from edgeosr.bundle.tensors import EMBEDDING
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.decode import decode_images
from edgeosr.data.labelled_images import ImageSet, LabelledImages
from edgeosr.data.parts import digest, evaluation_images
from edgeosr.export.frozen_features import FeatureReader, FrozenFeatures, joined
from edgeosr.export.scored_graph import ClassifierGraph, ScoredGraph, scored_graph
from edgeosr.export.torch_export import INPUT_NAME, onnx_bytes_from_backbone
from edgeosr.files import write_bytes
from edgeosr.preprocessing import Preprocessing
from edgeosr.scoring.scorer import Head, Scorer
from edgeosr.scoring.scorer_file import read_scorer, write_scorer
from edgeosr.training.settings import TrainSettings

FILE = "features.npz"


@dataclass(frozen=True, kw_only=True)
class KeptFeatures:
    """Features of a whole set.

    Attributes:
        scorer: of the backbone, with a head that says nothing.
        exported: as the exported graph sees the images, whose preprocessing is a part of it.
        trained: as training sees them, which resizes with Pillow; the same images in the same order.
        places: of each image, by its name; one that cannot be read has none.
    """

    scorer: Scorer
    exported: FrozenFeatures
    trained: FrozenFeatures
    places: dict[str, int]

    def of(self, images: LabelledImages, *, trained: bool = False) -> FrozenFeatures:
        """Return the features of those of ``images`` that could be read, with these images' labels.

        Args:
            images: of the set.
            trained: as training sees them, instead of the exported graph.
        """
        here = self.readable(images)
        chosen = np.array([self.places[images.name_of(int(i))] for i in here], np.int64)
        features = (self.trained if trained else self.exported).subset(chosen)
        return replace(features, labels=images.labels[here])

    def readable(self, images: LabelledImages) -> NDArray[np.int64]:
        """Return which of ``images`` could be read."""
        return np.array([i for i in range(len(images)) if images.name_of(i) in self.places], np.int64)


def kept_features(
    settings: TrainSettings, folder: Path, *, again: bool = False, threads: int | None = None
) -> KeptFeatures:
    """Return the features of a recipe's image set, from ``folder`` if they lie there.

    Args:
        settings: of the frozen run; the known classes do not matter.
        folder: of the protocol.
        again: compute them anew.
        threads: of onnxruntime; None for what suits the graph.

    Raises:
        DataError: the images are not there, or more than 1 % of them cannot be read.
        StorageError: the file cannot be written.
    """
    image_set = open_image_set(settings.data, settings.data_root)
    images, path = everything(image_set), folder / FILE
    key = _key(settings, images)
    if again or not _is_of(path, key):
        _compute(settings, image_set, images, path, key, threads)
    with np.load(path, allow_pickle=False) as kept:
        names = kept["names"].tolist()
        exported = FrozenFeatures(
            embeddings=kept["exported"],
            jacobian_squared=kept["jacobian_squared"],
            labels=np.zeros(len(names), np.int64),
        )
        return KeptFeatures(
            scorer=read_scorer(kept["scorer"].tobytes()),
            exported=exported,
            trained=replace(exported, embeddings=kept["trained"]),
            places={name: place for place, name in enumerate(names)},
        )


def everything(image_set: ImageSet) -> list[LabelledImages]:
    """Return the training and the evaluation images; the latter only where they are others."""
    other = evaluation_images(image_set)
    return [image_set.train] if other is image_set.train else [image_set.train, other]


def _key(settings: TrainSettings, images: Sequence[LabelledImages]) -> str:
    """Return what the features depend on."""
    network = (settings.arch, settings.size, settings.pretrained, settings.fit)
    return "\n".join([repr(network), repr(versions()), *(digest(part) for part in images)])


def _is_of(path: Path, key: str) -> bool:
    """Return True if a whole file of that key lies there."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return str(kept["key"]) == key
    except (OSError, ValueError, KeyError):
        return False


def _compute(
    settings: TrainSettings,
    image_set: ImageSet,
    images: Sequence[LabelledImages],
    path: Path,
    key: str,
    threads: int | None,
) -> None:
    import torch

    from edgeosr.model.backbone import channels_last
    from edgeosr.model.classifier import build_classifier
    from edgeosr.training.augmentation import Normalise
    from edgeosr.training.epoch import embed

    classes = image_set.train.class_names
    network = build_classifier(
        settings.arch, settings.size, len(classes), "cosine", pretrained=settings.pretrained
    )
    preprocessing = Preprocessing(height=settings.size, width=settings.size, fit=settings.fit)
    if network.backbone.mean is not None and network.backbone.std is not None:
        preprocessing = replace(preprocessing, mean=network.backbone.mean, std=network.backbone.std)
    graph = _graph(network.backbone, preprocessing, classes)
    # Places for labels: they say which images could be read.
    numbered = [replace(part, labels=np.arange(len(part))) for part in images]
    reader = FeatureReader(graph, threads=threads)
    read = [reader.read(part, "embedding every image, exported graph") for part in numbered]
    channels_last(network)
    trained = []
    with torch.no_grad():
        for part in numbered:
            decoded = decode_images(part, preprocessing, description="reading every image")
            normalise = Normalise(preprocessing, torch.device("cpu"))
            trained.append(embed(network, decoded.pixels, normalise, "embedding every image, as in training"))
    exported = joined(*read)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {
        "key": np.array(key),
        "names": np.array([p.name_of(int(i)) for p, of in zip(images, read, strict=True) for i in of.labels]),
        "exported": exported.embeddings,
        "jacobian_squared": exported.jacobian_squared,
        "trained": np.concatenate(trained),
        "scorer": np.frombuffer(write_scorer(graph.scorer), np.uint8),
    }
    np.savez(buffer, **arrays)
    write_bytes(path, buffer.getvalue())


def _graph(backbone: Any, preprocessing: Preprocessing, classes: tuple[str, ...]) -> ScoredGraph:
    """Return the exported graph of a backbone under a head that says nothing."""
    weight = np.zeros((len(classes), backbone.dimension), np.float32)
    weight[:, 0] = 1
    nothing = np.zeros(len(classes), np.float32)
    classifier = ClassifierGraph(
        graph=onnx_bytes_from_backbone(backbone, preprocessing.height, preprocessing.width),
        input_name=INPUT_NAME,
        embedding=EMBEDDING,
        logits=None,
        dimension=backbone.dimension,
        classes=classes,
        head=Head(kind="cosine", weight=weight, bias=nothing, temperature=1.0, margin=0.0),
        preprocessing=preprocessing,
        layers=(),
        default_part="movr_loss",
    )
    return scored_graph(classifier, "closed-form")
