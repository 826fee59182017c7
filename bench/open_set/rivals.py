"""pytorch-ood's detectors on the same network, with its defaults: nothing of them is tuned.

What each is given:

- **On a linear head** ``W z + b``: features z, logits ``W z + b``.
- **On a cosine head** (m-OvR): its logits are ``T cos(z, w_k)``, T the temperature of its loss. They are
  linear in the unit embedding, ``T w_k . (z / |z|)``, so the features are ``z / |z|`` and there is no bias.

On a frozen backbone both are tried, the linear one by logistic regression on the same embeddings.

ReAct and ASH shape the activations before the head: here the pooled features, as ``[n, D, 1, 1]`` maps.
Mahalanobis and RMD invert the covariance of a few hundred embeddings of a thousand numbers, which in float32
is rounding noise (AUROC 0.4 to 0.6 on NEU): they get float64. ViM has no default for the dimension d of its
principal space. It is shown at 32, which our pilot found best for it on NEU, and at 512, which its authors
take for embeddings of 768 to 2047 numbers; where an embedding has fewer than d, pytorch-ood takes half of
them. All are fitted on the train part.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bench.open_set.observed import Float32, Observed, Scored, Side, scored
from edgeosr.bench.open_set.torchvision_stub import stand_in
from edgeosr.errors import MissingDependencyError
from edgeosr.scoring.scorer import Head
from edgeosr.verdict import FLOOR

if TYPE_CHECKING:
    import torch

PREFIX = "pytorch-ood:"
LINEAR = " (linear head)"
VIM_DIMENSIONS = (32, 512)

Score = Callable[["torch.Tensor"], "torch.Tensor"]


@dataclass(frozen=True)
class LeftOut:
    """A score that could not be computed on a list, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class _Fitting:
    """What a detector is made from: the head as a layer, ``features`` and ``labels`` of the train part."""

    head: Any
    features: "torch.Tensor"
    labels: "torch.Tensor"


@dataclass(frozen=True)
class _Rival:
    """A detector: its name here, its class there, and how a score is made of the class."""

    name: str
    detector: str
    make: Callable[[Any, _Fitting], Score]


def pytorch_ood(folder: Path | None = None) -> ModuleType:
    """Import pytorch-ood.

    Args:
        folder: where ``pip install --target`` put it; None: this environment.

    Raises:
        MissingDependencyError: it is not there.
    """
    places = [] if folder is None else [str(folder.expanduser().resolve())]
    sys.path[:0] = places
    try:
        with stand_in():
            importlib.import_module("pytorch_ood.detector")
            return importlib.import_module("pytorch_ood")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pytorch_ood":
            raise
        raise MissingDependencyError(
            "comparing with pytorch-ood needs the package pytorch-ood, which is not installed; leave it out "
            "with --without-pytorch-ood, or name its folder with --pytorch-ood build/pytorch-ood after "
            "pip install --no-deps --target build/pytorch-ood pytorch-ood"
        ) from error
    finally:
        for place in places:
            sys.path.remove(place)


def rival_scores(package: ModuleType, network: Observed) -> Iterator[Scored | LeftOut]:
    """Yield the score of every detector on a network's heads; larger = more unknown, as they have it."""
    for head, suffix in ((network.head, ""), (network.linear_head, LINEAR)):
        for rival in _RIVALS:
            if head is not None and hasattr(package.detector, rival.detector):
                yield _score_of(rival, package, network, head, suffix)


def _score_of(
    rival: _Rival, package: ModuleType, network: Observed, head: Head, suffix: str
) -> Scored | LeftOut:
    import torch

    unit = head.kind == "cosine"
    fitting = _Fitting(
        _linear(head),
        torch.from_numpy(_features(network.train_embeddings, unit=unit)),
        torch.from_numpy(network.train_labels),
    )
    name = f"{PREFIX}{rival.name}{suffix}"
    try:
        score = rival.make(getattr(package.detector, rival.detector), fitting)

        def of(side: Side) -> NDArray[Any]:
            with torch.no_grad():
                return score(torch.from_numpy(_features(side.embeddings, unit=unit))).numpy()

        return scored(name, of, network, accuracy=_accuracy(network, head))
    # Too few images for its k, or a matrix that has no inverse: the other scores stay.
    except (ValueError, RuntimeError) as error:
        return LeftOut(name, str(error).splitlines()[0])


def _features(embeddings: Float32, *, unit: bool) -> Float32:
    if not unit:
        return np.ascontiguousarray(embeddings, np.float32)
    norm = np.maximum(np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True), FLOOR)
    return np.asarray(embeddings / norm, np.float32)


def _linear(head: Head) -> Any:
    """Return the head as a torch layer; of a cosine head the one on unit embeddings."""
    import torch

    layer = torch.nn.Linear(head.weight.shape[1], head.weight.shape[0])
    cosine = head.kind == "cosine"
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight * (head.temperature if cosine else 1.0)))
        layer.bias.copy_(torch.from_numpy(head.bias))
    return layer.requires_grad_(False)


def _accuracy(network: Observed, head: Head) -> float:
    """Return the closed-set accuracy of a head on the known test images."""
    if head is network.head:
        return network.accuracy
    logits = network.test.embeddings @ head.weight.T + head.bias
    return float(np.mean(logits.argmax(axis=1) == network.test.labels))


def _of_features(detector: Any, on: _Fitting) -> Score:
    fitted = detector(None).fit_features(on.features, on.labels)
    return lambda features: fitted.predict_features(features)


def _of_features_in_float64(detector: Any, on: _Fitting) -> Score:
    import torch

    before = torch.get_default_dtype()
    # Of this type are the means and matrices that it makes.
    torch.set_default_dtype(torch.float64)
    try:
        fitted = detector(None).fit_features(on.features.double(), on.labels)
    finally:
        torch.set_default_dtype(before)
    return lambda features: fitted.predict_features(features.double())


def _of_logits(detector: Any, on: _Fitting) -> Score:
    made = detector(None)
    return lambda features: made.predict_logits(on.head(features))


def _of_head(detector: Any, on: _Fitting) -> Score:
    fitted = detector(None, on.head).fit_features(on.features, on.labels)
    return lambda features: fitted.predict_features(features)


def _of_maps(detector: Any, on: _Fitting) -> Score:
    made = detector(None, lambda maps: on.head(maps.flatten(1)))
    made.fit_feature_maps(_maps(on.features), on.labels)
    return lambda features: made.predict_feature_maps(_maps(features))


def _vim(dimension: int) -> Callable[[Any, _Fitting], Score]:
    def make(detector: Any, on: _Fitting) -> Score:
        made = detector(None, d=dimension, w=on.head.weight, b=on.head.bias)
        fitted = made.fit_features(on.features, on.labels)
        return lambda features: fitted.predict_features(features)

    return make


def _maps(features: "torch.Tensor") -> "torch.Tensor":
    return features[:, :, None, None]


_RIVALS = (
    _Rival("MSP", "MaxSoftmax", _of_logits),
    _Rival("MaxLogit", "MaxLogit", _of_logits),
    _Rival("EnergyBased", "EnergyBased", _of_logits),
    _Rival("GEN", "GEN", _of_logits),
    _Rival("KNN", "KNN", _of_features),
    _Rival("Mahalanobis", "Mahalanobis", _of_features_in_float64),
    _Rival("RMD", "RMD", _of_features_in_float64),
    *(_Rival(f"ViM d={dimension}", "ViM", _vim(dimension)) for dimension in VIM_DIMENSIONS),
    _Rival("ReAct", "ReAct", _of_maps),
    _Rival("ASH", "ASH", _of_maps),
    _Rival("fDBD", "fDBD", _of_head),
    _Rival("NNGuide", "NNGuide", _of_head),
)
