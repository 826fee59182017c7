"""The train part as the exported graph sees it: what the constants of score parts are made from."""

from edgeosr.data.labelled_images import LabelledImages
from edgeosr.export.frozen_features import FeatureReader
from edgeosr.export.scored_graph import ScoredGraph, scored_graph
from edgeosr.scoring.part import TrainFeatures


def train_features(
    graph: ScoredGraph, train: LabelledImages, *, seed: int, threads: int | None = None
) -> TrainFeatures:
    """Compute embedding and |dz/dh|_F^2 of every readable train image, in one pass.

    Args:
        graph: of the classifier, with any constants or none; probes do not change the embedding and are left
            out.
        train: images of the classes of the graph.
        seed: of whatever is drawn from the features.
        threads: of onnxruntime; None for what suits the graph.

    Raises:
        DataError: more than 1 % of the images cannot be read.
    """
    if graph.scorer.probes is not None:
        graph = scored_graph(graph.classifier, "none")
    features = FeatureReader(graph, threads=threads).read(train, "embedding the train part")
    return features.for_parts(len(graph.classifier.classes), seed)
