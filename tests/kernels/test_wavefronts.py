"""The performance model's counted wavefronts belong to the present kernel."""

import json

from count_wavefronts import COUNTED, counted

from edgeosr.bench.kernel_wavefronts import FILE, wavefronts_of


def test_the_counted_rows_are_those_of_one_sample() -> None:
    assert set(json.loads(FILE.read_text("utf-8"))["rows"]) == {workload.name for workload in COUNTED}


def test_a_row_counted_anew_is_what_the_model_prints() -> None:
    first = COUNTED[0]
    found = wavefronts_of(first)
    assert found is not None
    assert counted(first) == vars(found), (
        "the kernel has changed: run python tests/kernels/count_wavefronts.py"
    )
