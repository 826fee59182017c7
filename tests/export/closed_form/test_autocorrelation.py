import itertools

import numpy as np
import pytest
import torch

from edgeosr.export.closed_form.autocorrelation import autocorrelation


def position_gradients(weight, strides, dilations, height, width):
    """dy_d(q)/dh for every position q of an explicitly padded input, by autograd: [D, H, W, inputs]."""
    kernel = [(side - 1) * dilation + 1 for side, dilation in zip(weight.shape[2:], dilations, strict=True)]
    size = [
        (count - 1) * stride + extent
        for count, stride, extent in zip((height, width), strides, kernel, strict=True)
    ]
    padded = torch.zeros(1, weight.shape[1], *size, dtype=torch.float64)

    def convolve(h):
        return torch.nn.functional.conv2d(h, weight, stride=strides, dilation=dilations)[0]

    return torch.func.jacrev(convolve)(padded).flatten(3).numpy()


@pytest.mark.parametrize(
    ("kernel", "strides", "dilations"),
    [
        ((1, 1), (1, 1), (1, 1)),
        ((1, 1), (2, 2), (1, 1)),
        ((3, 3), (1, 1), (1, 1)),
        ((3, 3), (2, 2), (1, 1)),
        ((3, 3), (3, 3), (1, 1)),
        ((5, 5), (2, 2), (1, 1)),
        ((5, 5), (1, 1), (1, 1)),
        ((3, 3), (1, 1), (2, 2)),
        ((3, 3), (2, 2), (3, 3)),
        ((3, 3), (4, 4), (2, 2)),
        ((2, 4), (1, 1), (1, 1)),
        ((1, 7), (1, 2), (1, 1)),
        ((3, 5), (2, 1), (1, 2)),
        ((4, 4), (3, 2), (2, 3)),
    ],
)
def test_table_holds_the_inner_products_of_all_pairs_of_positions(kernel, strides, dilations):
    torch.manual_seed(0)
    weight = torch.randn(3, 2, *kernel, dtype=torch.float64)
    height, width = 5, 6
    table, offsets = autocorrelation(weight.numpy(), strides, dilations)
    gradients = position_gradients(weight, strides, dilations, height, width)
    assert offsets[0].tolist() == [0, 0]
    folded = {tuple(offset): table[:, index] for index, offset in enumerate(offsets.tolist())}
    assert len(folded) == len(offsets)
    positions = list(itertools.product(range(height), range(width)))
    for (row, column), (other_row, other_column) in itertools.product(positions, positions):
        expected = np.einsum("di,di->d", gradients[:, row, column], gradients[:, other_row, other_column])
        offset = (other_row - row, other_column - column)
        one_of_pair = max(offset, (-offset[0], -offset[1]))
        got = folded.get(one_of_pair, np.zeros(3)) / (1 if offset == (0, 0) else 2)
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_only_one_offset_of_each_symmetric_pair_is_in_the_table():
    _, offsets = autocorrelation(np.ones((1, 1, 3, 3), np.float32), (1, 1), (1, 1))
    found = {tuple(offset) for offset in offsets.tolist()}
    assert len(found) == 13
    assert not any((-row, -column) in found for row, column in found if (row, column) != (0, 0))


def test_sums_are_taken_in_double_precision():
    # 1e4^2 + 1 is not a float32; float32 sums would lose the small tap.
    weight = np.array([1e4, 1.0], np.float32).reshape(1, 2, 1, 1)
    table, _ = autocorrelation(weight, (1, 1), (1, 1))
    assert table[0, 0] == 1e8 + 1
