import numpy as np
import pytest
import torch
from torch import nn

from edgeosr.bench import torch_baseline
from edgeosr.bench.torch_baseline import measure_classifier
from edgeosr.errors import EdgeosrError
from edgeosr.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(height=8, width=8, fit="stretch", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


class Residual(nn.Module):
    """A skip around the last convolution, as a ResNet has it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.last = nn.Conv2d(5, 5, (3, 1), padding=(1, 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.first(x))
        return torch.relu(self.last(h) + h).mean((2, 3))


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.backbone = Residual()
        self.head = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x))


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (3, 8, 8, 3), np.uint8)


def pixels(frames: np.ndarray) -> torch.Tensor:
    values = (frames / 255 - PREPROCESSING.mean) / PREPROCESSING.std
    return torch.from_numpy(values.transpose(0, 3, 1, 2)).float()


def oracle(network: Tiny, x: torch.Tensor) -> float:
    """J_z by torch.func.jacrev on the explicitly padded input of the last convolution, skip constant."""
    backbone = network.backbone
    h = torch.relu(backbone.first(x)).detach()
    padded = nn.functional.pad(h, (0, 0, 1, 1))

    def z_of(padded: torch.Tensor) -> torch.Tensor:
        y = nn.functional.conv2d(padded, backbone.last.weight, backbone.last.bias)
        return torch.relu(y + h).mean((2, 3))[0]

    jacobian = torch.func.jacrev(z_of)(padded)
    return float((jacobian.norm() / z_of(padded).norm()).detach())


def test_the_norm_at_the_last_convolution_is_the_quantity_that_the_bundle_computes(frames) -> None:
    network = Tiny()
    labels = network(pixels(frames)).argmax(1).tolist()
    expected = oracle(network, pixels(frames[:1]))
    found = measure_classifier(network, PREPROCESSING, frames, labels=labels, jacobian=expected, seconds=5)
    assert found.jacobian_norm == pytest.approx(expected, rel=1e-5)
    assert found.jacobian_error < 1e-5
    assert [(j.with_respect_to, j.rows, j.timed_rows) for j in found.jacobians] == [
        ("the last convolution", 5, 5),
        ("the input", 5, 5),
    ]
    assert len(found.plain) >= 10


def test_the_network_itself_is_left_as_it_was(frames) -> None:
    network = Tiny()
    before = network(pixels(frames)).detach()
    measure_classifier(
        network, PREPROCESSING, frames, labels=before.argmax(1).tolist(), jacobian=None, seconds=5
    )
    torch.testing.assert_close(network(pixels(frames)), before)
    assert network.backbone.last.padding == (1, 0)


def test_when_time_runs_out_the_total_is_scaled_from_the_rows_that_were_done(frames, monkeypatch) -> None:
    monkeypatch.setattr(torch_baseline, "ROWS_AT_ONCE", 2)
    network = Tiny()
    labels = network(pixels(frames)).argmax(1).tolist()
    found = measure_classifier(network, PREPROCESSING, frames, labels=labels, jacobian=123.0, seconds=1e-9)
    assert [(j.rows, j.timed_rows) for j in found.jacobians] == [(5, 2), (5, 2)]
    # Not all rows are there, so there is no norm that could be compared with the (wrong) 123.
    assert found.jacobian_norm is None and found.jacobian_error is None


def test_another_run_than_the_bundle_s_is_refused_by_its_labels_or_its_norm(frames) -> None:
    network = Tiny()
    labels = network(pixels(frames)).argmax(1).tolist()
    wrong = [(label + 1) % 3 for label in labels]
    with pytest.raises(EdgeosrError, match="not exported from this run"):
        measure_classifier(network, PREPROCESSING, frames, labels=wrong, jacobian=None, seconds=5)
    twice = 2 * oracle(network, pixels(frames[:1]))
    with pytest.raises(EdgeosrError, match=r"Jacobian norm of .* where the bundle says"):
        measure_classifier(network, PREPROCESSING, frames, labels=labels, jacobian=twice, seconds=5)


def test_a_network_trained_on_blue_first_gets_blue_first(frames) -> None:
    bgr = Preprocessing(**{**PREPROCESSING.as_json(), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4),
                           "color": "bgr"})  # fmt: skip
    got = torch_baseline._pixels(torch, bgr, frames[0])
    torch.testing.assert_close(got, pixels(frames[:1]).flip(1))
