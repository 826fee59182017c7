"""Every front end passes the reader that stands before onnxruntime: each fit, of frames of any size."""

from dataclasses import replace

import numpy as np
import pytest

from edgeosr.bench.random_bundle import random_classifier
from edgeosr.bundle.graphs import require_graph_of_bundle
from edgeosr.export.scored_graph import scored_graph
from edgeosr.preprocessing import FITS
from edgeosr.scoring.probes import Probes


@pytest.fixture(scope="module")
def classifier():
    return random_classifier("classifier32", 32)


@pytest.mark.parametrize("resized", [None, 37], ids=["whole", "resize then cut"])
@pytest.mark.parametrize("fit", FITS)
def test_a_bundle_s_reader_takes_every_front_end(classifier, fit, resized):
    if fit == "letterbox" and resized is not None:
        return  # refused as settings
    preprocessing = replace(classifier.preprocessing, fit=fit, resize_to=resized)
    graph = scored_graph(replace(classifier, preprocessing=preprocessing), "closed-form")
    require_graph_of_bundle(graph.model(), parts=len(graph.parts))


def test_tangents_of_probes_of_the_image_are_made_before_the_graph_is_written(classifier):
    space = 3 * 32 * 32
    directions = np.eye(2, space, dtype=np.float32)
    probes = Probes(K=2, n=space, tensor=classifier.input_name, directions=directions)
    graph = scored_graph(classifier, "probes", probes)
    require_graph_of_bundle(graph.model(), parts=len(graph.parts))
