"""What one would do without edgeosr: the torch model, eager, with the exact Jacobian by autograd.

Two Jacobians of the embedding z are timed: with respect to the input of the last convolution (zero-padded
explicitly, any skip held constant: the very quantity that the bundle computes in closed form), and with
respect to the network's input (the paper's definition). Each needs one vector-Jacobian product a dimension
of z; only some rows are timed within the time limit and the total is scaled from them.
"""

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeosr.bench.samples import Samples
from edgeosr.bench.timer import Candidate, interleave
from edgeosr.bundle.manifest import Manifest
from edgeosr.errors import EdgeosrError, import_extra
from edgeosr.preprocessing import Preprocessing
from edgeosr.scoring.parts.log_jacobian import LogJacobian

ROWS_AT_ONCE = 16
PLAIN_CALLS = 20
JACOBIAN_TOLERANCE = 1e-2


@dataclass(frozen=True)
class JacobianTime:
    """One exact Jacobian by autograd.

    Attributes:
        with_respect_to: of what.
        rows, timed_rows: dimensions of z, and how many of them were timed.
        total_ms: forward pass plus all rows; scaled up if not all were timed.
    """

    with_respect_to: str
    rows: int
    timed_rows: int
    total_ms: float


@dataclass(frozen=True)
class TorchLatency:
    """Batch 1, Pillow preprocessing included.

    Attributes:
        plain: the classifier alone, inference mode.
        jacobians: at the last convolution, at the input.
        jacobian_error: relative difference between autograd's J_z at the last convolution and the
            bundle's, or None if not every row was computed or the bundle has no Jacobian.
        jacobian_norm: autograd's J_z of the first frame, or None if not every row was computed.
        threads: torch's intra-op threads.
    """

    plain: Samples
    jacobians: tuple[JacobianTime, ...]
    jacobian_error: float | None
    jacobian_norm: float | None
    threads: int

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "plain": self.plain.as_json(),
            "jacobians": [vars(jacobian) for jacobian in self.jacobians],
            "jacobian_relative_error": self.jacobian_error,
            "jacobian_norm": self.jacobian_norm,
            "threads": self.threads,
        }


def first_jacobian(manifest: Manifest, values: NDArray[np.float32]) -> float | None:
    """Return J_z of the first frame, of which the bundle reports the logarithm; None without one."""
    # What torch computes is J_z at the last convolution, which only the closed form gives.
    if manifest.jacobian.method != "closed-form" or LogJacobian.name not in manifest.parts:
        return None
    return float(np.exp(values[0, manifest.parts.index(LogJacobian.name)]))


def measure_torch(
    run: Path,
    preprocessing: Preprocessing,
    frames: NDArray[np.uint8],
    *,
    labels: Sequence[int],
    jacobian: float | None,
    threads: int | None,
    seconds: float,
) -> TorchLatency:
    """Time the torch model of a run directory; see ``measure_classifier``.

    Args:
        run: what ``edgeosr train`` wrote.
        preprocessing: as there.
        frames: as there.
        labels: as there.
        jacobian: as there.
        threads: torch threads, None = torch's default.
        seconds: as there.

    Raises:
        EdgeosrError: there is no run, or it is not the one the bundle was made from.
        MissingDependencyError: torch is not installed.
    """
    torch = import_extra("torch", extra="train", purpose="the torch baseline")
    from edgeosr.model.classifier import load_classifier

    classifier = load_classifier(run)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        return measure_classifier(
            classifier, preprocessing, frames, labels=labels, jacobian=jacobian, seconds=seconds
        )
    finally:
        torch.set_num_threads(before)


def measure_classifier(
    classifier: Any,
    preprocessing: Preprocessing,
    frames: NDArray[np.uint8],
    *,
    labels: Sequence[int],
    jacobian: float | None,
    seconds: float,
) -> TorchLatency:
    """Time a torch classifier at batch 1, with Pillow's preprocessing.

    Args:
        classifier: ``torch.nn.Module`` with a ``backbone`` (pixels to z) and logits as its output; put into
            eval mode, its parameters need no gradient afterwards.
        preprocessing: the bundle's.
        frames: uint8 RGB ``[n, height, width, 3]``.
        labels: the bundle's class index for each frame; must agree before anything is timed.
        jacobian: the bundle's J_z for ``frames[0]``, or None.
        seconds: time limit of each Jacobian; at least ``ROWS_AT_ONCE`` rows are computed.

    Raises:
        EdgeosrError: the model and the bundle give other labels or another Jacobian norm.
    """
    import torch

    classifier.eval().requires_grad_(False)

    def classify(i: int) -> int:
        with torch.inference_mode():
            return int(classifier(_pixels(torch, preprocessing, frames[i % len(frames)])).argmax(1))

    got = [classify(i) for i in range(len(frames))]
    if got != list(labels):
        raise EdgeosrError(
            f"the torch model of the run says classes {got} where the bundle says {list(labels)}; "
            "the bundle was not exported from this run: name the right one"
        )
    plain = interleave([Candidate("torch", classify)], turns=PLAIN_CALLS, warmup=3, limit_s=seconds)["torch"]
    pixels = _pixels(torch, preprocessing, frames[0])
    deep, norm = _at_last_convolution(torch, classifier.backbone, pixels, seconds)
    error = abs(norm - jacobian) / jacobian if norm is not None and jacobian else None
    if error is not None and error > JACOBIAN_TOLERANCE:
        raise EdgeosrError(
            f"autograd gives a Jacobian norm of {norm:.6g} where the bundle says {jacobian:.6g}; "
            "the bundle was not exported from this run: name the right one"
        )
    shallow = _at_input(torch, classifier.backbone, pixels, seconds)
    return TorchLatency(plain, (deep, shallow), error, norm, int(torch.get_num_threads()))


def _pixels(torch: Any, preprocessing: Preprocessing, frame: NDArray[np.uint8]) -> Any:
    scaled = preprocessing.resize(frame).astype(np.float32) / 255
    normalised = (scaled - np.array(preprocessing.mean, np.float32)) / np.array(preprocessing.std, np.float32)
    if preprocessing.color == "bgr":  # mean and std are in RGB order: swap after them
        normalised = normalised[:, :, ::-1]
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)[None]))


def _at_input(torch: Any, backbone: Any, pixels: Any, seconds: float) -> JacobianTime:
    leaf = pixels.clone().requires_grad_()
    started = time.perf_counter()
    z = backbone(leaf)[0]
    forward_ms = 1e3 * (time.perf_counter() - started)
    return _all_rows(torch, z, leaf, forward_ms, seconds, "the input")[0]


def _at_last_convolution(
    torch: Any, backbone: Any, pixels: Any, seconds: float
) -> tuple[JacobianTime, float | None]:
    backbone = copy.deepcopy(backbone)
    convolution = _last_convolution(torch, backbone, pixels)
    vertical, horizontal = convolution.padding
    convolution.padding = (0, 0)
    leaf = None

    def cut(_module: Any, inputs: tuple[Any, ...]) -> Any:
        # The product's definition: h with its zero padding made explicit; a skip around it is a constant.
        nonlocal leaf
        pads = (horizontal, horizontal, vertical, vertical)
        leaf = torch.nn.functional.pad(inputs[0].detach(), pads).requires_grad_()
        return (leaf,)

    convolution.register_forward_pre_hook(cut)
    started = time.perf_counter()
    z = backbone(pixels)[0]
    forward_ms = 1e3 * (time.perf_counter() - started)
    jacobian, squared = _all_rows(torch, z, leaf, forward_ms, seconds, "the last convolution")
    norm = None if squared is None else math.sqrt(squared) / float(z.detach().norm())
    return jacobian, norm


def _last_convolution(torch: Any, backbone: Any, pixels: Any) -> Any:
    order: list[Any] = []
    hooks = [
        module.register_forward_hook(lambda module, *_: order.append(module))
        for module in backbone.modules()
        if isinstance(module, torch.nn.Conv2d)
    ]
    with torch.no_grad():
        backbone(pixels)
    for hook in hooks:
        hook.remove()
    return order[-1]


def _all_rows(
    torch: Any, z: Any, leaf: Any, forward_ms: float, seconds: float, name: str
) -> tuple[JacobianTime, float | None]:
    rows, done, squared = len(z), 0, 0.0
    identity = torch.eye(rows)
    started = time.perf_counter()
    while done < rows and (done == 0 or time.perf_counter() - started < seconds):
        chunk = identity[done : done + ROWS_AT_ONCE]
        (gradient,) = torch.autograd.grad(z, leaf, chunk, retain_graph=True, is_grads_batched=True)
        squared += float(gradient.square().sum())
        done += len(chunk)
    spent_ms = 1e3 * (time.perf_counter() - started)
    total = forward_ms + spent_ms * rows / done
    return JacobianTime(name, rows, done, total), squared if done == rows else None
