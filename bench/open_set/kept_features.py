"""Map features of a frozen backbone for every image of a set: computed once a protocol, kept on disk."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeosr.bundle.tensors import EMBEDDING
from edgeosr.data.catalogue import open_image_set
from edgeosr.data.labelled_images import ImageSet, LabelledImages
from edgeosr.data.parts import digest, evaluation_images
from edgeosr.export.frozen_features import FeatureReader, FrozenFeatures
from edgeosr.export.scored_graph import ClassifierGraph, ScoredGraph, scored_graph
from edgeosr.export.torch_export import INPUT_NAME, onnx_bytes_from_backbone
from edgeosr.files import atomic_file
from edgeosr.preprocessing import Preprocessing
from edgeosr.scoring.scorer import Head, Scorer
from edgeosr.training.settings import TrainSettings

FILE = "features.npz"


@dataclass(frozen=True, kw_only=True)
class KeptFeatures:
    """Features of a whole set.

    Attributes:
        scorer: of the backbone, with a head that says nothing.
        features: of all images that could be read.
        places: of each image in ``features``, by its name.
    """

    scorer: Scorer
    features: FrozenFeatures
    places: dict[str, int]

    def of(self, images: LabelledImages) -> tuple[FrozenFeatures, np.ndarray]:
        """Return the features of some of the set's images, with these images' labels, and their groups."""
        names = [images.name_of(i) for i in range(len(images))]
        here = np.array([i for i, name in enumerate(names) if name in self.places], np.int64)
        chosen = np.array([self.places[names[i]] for i in here], np.int64)
        return replace(self.features.subset(chosen), labels=images.labels[here]), images.groups[here]


def kept_features(settings: TrainSettings, folder: Path, threads: int | None = None) -> KeptFeatures:
    """Return the features of a recipe's image set, from ``folder`` if they lie there.

    Args:
        settings: of the frozen run; the known classes do not matter.
        folder: of the protocol.
        threads: of onnxruntime; None for what suits the graph.

    Raises:
        DataError: the images are not there, or more than 1 % of them cannot be read.
        StorageError: the file cannot be written.
    """
    image_set = open_image_set(settings.data, settings.data_root)
    images = everything(image_set)
    graph = _graph(settings, image_set.train.class_names)
    core = hashlib.sha256(graph.core + repr(graph.classifier.preprocessing).encode()).hexdigest()
    key, path = "\n".join([core, *(digest(part) for part in images)]), folder / FILE
    if not _is_of(path, key):
        reader = FeatureReader(graph, threads=threads)
        read = [reader.read(_named(part), "embedding every image once") for part in images]
        names = [part.name_of(int(i)) for part, of in zip(images, read, strict=True) for i in of.labels]
        with atomic_file(path) as file:
            np.savez(
                file,
                key=np.array(key),
                names=np.array(names),
                embeddings=np.concatenate([of.embeddings for of in read]),
                jacobian_squared=np.concatenate([of.jacobian_squared for of in read]),
            )
    with np.load(path, allow_pickle=False) as kept:
        names = kept["names"].tolist()
        features = FrozenFeatures(
            embeddings=kept["embeddings"],
            jacobian_squared=kept["jacobian_squared"],
            labels=np.zeros(len(names), np.int64),
        )
    places = {name: place for place, name in enumerate(names)}
    return KeptFeatures(scorer=graph.scorer, features=features, places=places)


def everything(image_set: ImageSet) -> list[LabelledImages]:
    """Return the training and the evaluation images; the latter only where they are others."""
    other = evaluation_images(image_set)
    return [image_set.train] if other is image_set.train else [image_set.train, other]


def _named(images: LabelledImages) -> LabelledImages:
    """Return the images with their places as labels: what cannot be read is missing, and this says which."""
    return replace(images, labels=np.arange(len(images)))


def _is_of(path: Path, key: str) -> bool:
    """Return True if a whole file of that key lies there."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            return str(kept["key"]) == key
    except (OSError, ValueError, KeyError):
        return False


def _graph(settings: TrainSettings, classes: tuple[str, ...]) -> ScoredGraph:
    """Return the exported graph of the pretrained backbone under a head that says nothing."""
    from edgeosr.model.catalogue import build_backbone

    backbone = build_backbone(settings.arch, settings.size, settings.pretrained)
    preprocessing = Preprocessing(height=settings.size, width=settings.size, fit=settings.fit)
    if backbone.mean is not None and backbone.std is not None:
        preprocessing = replace(preprocessing, mean=backbone.mean, std=backbone.std)
    weight = np.zeros((len(classes), backbone.dimension), np.float32)
    weight[:, 0] = 1
    classifier = ClassifierGraph(
        graph=onnx_bytes_from_backbone(backbone, settings.size, settings.size),
        input_name=INPUT_NAME,
        embedding=EMBEDDING,
        logits=None,
        dimension=backbone.dimension,
        classes=classes,
        head=Head(
            kind="cosine", weight=weight, bias=np.zeros(len(classes), np.float32), temperature=1.0, margin=0.0
        ),
        preprocessing=preprocessing,
        layers=(),
        default_part="movr_loss",
    )
    return scored_graph(classifier, "closed-form")
