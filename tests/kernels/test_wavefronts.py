"""The performance model's counted wavefronts belong to the present kernel."""

import json

import pytest
from count_wavefronts import COUNTED, ROWS, counted

from edgeosr.bench.kernel_wavefronts import FILE, wavefronts_of


def test_the_counted_rows_are_those_of_one_sample() -> None:
    kept = json.loads(FILE.read_text("utf-8"))
    for rows in ROWS:
        assert set(kept[rows]) == {workload.name for workload in COUNTED}


@pytest.mark.parametrize("architecture", ROWS.values(), ids=ROWS)
def test_a_row_counted_anew_is_what_the_model_prints(architecture: str) -> None:
    first = COUNTED[0]
    found = wavefronts_of(first, clusters=bool(architecture))
    assert found is not None
    assert counted(first, architecture) == vars(found), (
        "the kernel has changed: run python tests/kernels/count_wavefronts.py"
    )
