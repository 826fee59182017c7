"""Verdicts as they come from the device: written, and of the layout that this edgeosr reads."""

import numpy as np
import pytest

from edgeosr.errors import DeviceError
from edgeosr.kernels.device_verdicts import LAYOUT, VERDICT, WRITTEN, written_verdicts


def verdicts(flags: int = WRITTEN, layout: int = LAYOUT | 5 << 16) -> np.ndarray:
    found = np.zeros(3, VERDICT)
    found["flags"], found["layout"] = WRITTEN, LAYOUT | 5 << 16
    found[1]["flags"], found[1]["layout"] = flags, layout
    return found


def test_verdicts_that_were_written_come_back_as_they_are() -> None:
    found = verdicts()
    assert written_verdicts(found, 5) is found
    assert len(written_verdicts(found[:0], 5)) == 0


def test_one_that_was_not_written_is_an_error() -> None:
    with pytest.raises(DeviceError, match="1 of 3 verdicts were not written"):
        written_verdicts(verdicts(flags=0), 5)


def test_another_layout_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DeviceError, match=r"layout 1; got \[1, 2\].*edgeosr.kernels.build_cubins"):
        written_verdicts(verdicts(layout=(LAYOUT + 1) | 5 << 16), 5)


@pytest.mark.parametrize("count", [0, 4, 6, 16])
def test_another_number_of_values_than_the_scorer_has_parts_is_an_error(count: int) -> None:
    with pytest.raises(DeviceError, match=r"must have 5 values.*got \[.*\]: they were made with another"):
        written_verdicts(verdicts(layout=LAYOUT | count << 16), 5)
