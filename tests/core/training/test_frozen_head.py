"""A head trained again on kept features: as the run's own, and the same each time."""

import json

import numpy as np
import torch

from edgeosr.training.frozen_head import train_frozen_head
from edgeosr.training.settings import TrainSettings

SETTINGS = TrainSettings(
    data="digits", arch="efficientnet-lite0", pretrained=True, freeze=True, epochs=6, batch_size=16, threads=1
)


def clusters(images: int, seed: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    return (np.eye(8)[labels] + 0.2 * random.normal(size=(images, 8))).astype(np.float32), labels


def test_a_cosine_head_learns_and_has_unit_rows():
    head = train_frozen_head(SETTINGS, clusters(120, 0), clusters(60, 1), classes=3)
    z, labels = clusters(90, 2)
    assert np.mean((z @ head.weight.T).argmax(axis=1) == labels) > 0.9
    np.testing.assert_allclose(np.linalg.norm(head.weight, axis=1), 1, rtol=1e-5)
    assert head.weight.dtype == np.float32 and not head.bias.any()


def test_a_linear_head_learns_too():
    settings = TrainSettings(**{**vars(SETTINGS), "loss": "ce", "lr": 0.1})
    head = train_frozen_head(settings, clusters(120, 0), clusters(60, 1), classes=3)
    z, labels = clusters(90, 2)
    assert np.mean((z @ head.weight.T + head.bias).argmax(axis=1) == labels) > 0.9


def test_the_same_features_give_the_same_bits_and_the_thread_count_of_before():
    threads = torch.get_num_threads()
    first, second = (train_frozen_head(SETTINGS, clusters(120, 0), clusters(60, 1), classes=3) for _ in "ab")
    assert first.weight.tobytes() == second.weight.tobytes()
    assert torch.get_num_threads() == threads


def test_the_head_of_a_run_is_made_again_from_its_features(settings, changed):
    """Not the same bits, for the run's generator also made a backbone; but the same classifier."""
    from edgeosr.data.decode import decode_images
    from edgeosr.model.classifier import load_classifier
    from edgeosr.run import read_run
    from edgeosr.training.augmentation import Normalise
    from edgeosr.training.epoch import embed
    from edgeosr.training.open_data import open_parts
    from edgeosr.training.settings import settings_from_json
    from edgeosr.training.train import train

    frozen = changed(
        settings, arch="efficientnet-lite0", input_size=32, pretrained=True, freeze=True, epochs=30
    )
    run = train(frozen)
    record, classifier = read_run(run), load_classifier(run)
    _, parts = open_parts(frozen)
    features = []
    for part in (parts.train, parts.select):
        pixels = decode_images(part, record.preprocessing, description="").pixels
        z = embed(classifier, pixels, Normalise(record.preprocessing, torch.device("cpu")), "")
        features.append((z, part.labels))
    recorded = settings_from_json(json.loads(json.dumps(record.training)), threads=1)
    head = train_frozen_head(recorded, features[0], features[1], classes=3)
    ours = classifier.head_weight.detach().numpy()
    unit = features[0][0] / np.linalg.norm(features[0][0], axis=1, keepdims=True)
    cosines = [(unit @ weight.T) for weight in (head.weight, ours)]
    assert np.mean(cosines[0].argmax(axis=1) == cosines[1].argmax(axis=1)) > 0.95
    assert np.corrcoef(cosines[0].ravel(), cosines[1].ravel())[0, 1] > 0.95
