import pytest

from edgeosr.bench.fresh_process import measure_cold_start, measure_memory
from edgeosr.errors import EdgeosrError


def test_the_stages_of_a_cold_start_fit_into_the_life_of_its_process(tiny_bundle) -> None:
    cold = measure_cold_start(tiny_bundle, (16, 16), threads=1, repeats=1)
    stages = (cold.import_ms, cold.open_ms, cold.first_verdict_ms)
    assert min(stages) > 0
    assert sum(stages) < cold.process_ms
    assert cold.repeats == 1


def test_memory_is_compared_between_processes_of_the_same_kind(tiny_bundle) -> None:
    memory = measure_memory(tiny_bundle, (16, 16), threads=1, repeats=1)
    # numpy and onnxruntime alone take tens of MiB; the tiny bundle adds next to nothing.
    assert 20 < memory.session_mib < 500
    assert memory.own_mib == pytest.approx(memory.runtime_mib - memory.session_mib)
    assert memory.own_mib < 60


def test_a_process_that_fails_says_why(tmp_path) -> None:
    with pytest.raises(EdgeosrError, match=r"'cold' measurement ended with code 1: .*no bundle"):
        measure_cold_start(tmp_path / "nothing.edgeosr", (16, 16), threads=1, repeats=1)
