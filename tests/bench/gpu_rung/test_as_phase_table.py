"""A record of the rung becomes a phase table that the model of time takes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeosr.bench.gpu_rung.as_phase_table import main, table_from_record
from edgeosr.bench.gpu_rung.counters import CASES
from edgeosr.bench.gpu_rung.phase_table import SHAPES
from edgeosr.bench.kernel_counts import MEASURED_CASES, row_name
from edgeosr.bench.phase_table import phase_table
from edgeosr.errors import UsageError
from edgeosr.kernels.build.phases import NAMES, PHASES, WHOLE


def record() -> dict[str, Any]:
    times = {name: 1.0 + number for number, name in enumerate((*PHASES.values(), WHOLE))}
    rows = [
        {"row": row_name(shape.case(batch, half=half)), "us": times}
        for half in (True, False)
        for shape in SHAPES
        for batch in shape.batches
    ]
    card = {"name": "H100", "architecture": "sm_90", "multiprocessors": 132, "clock_mhz": 1980}
    phases = {
        "rows": rows,
        "source": "abc",
        "how": "medians",
        "clocks": {"clocks.current.sm": [345.0, 1755.0, 1980.0]},
    }
    counted = [{"case": CASES[0].name, "warp_instructions": 445171.0}, {"case": CASES[1].name}]
    return {
        "made_up": "",
        "date": "2026-11-27T01:02:03+00:00",
        "machine": {"card": {**card, "driver_cuda": "13.0"}, "nvidia_smi": {"driver_version": "580.1"}},
        "steps": [
            {"name": "phases", "figures": phases},
            {"name": "counters", "figures": {"rows": counted}},
        ],
    }


def test_the_rung_s_rows_are_a_table_with_the_model_s_names_phases_and_launches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "gpu-h100.json"
    path.write_text(json.dumps(record()), "utf-8")
    assert main([str(path), "--commit", "abc1234"]) == 0
    out = tmp_path / "kernel_phases_h100.json"
    out.write_text(capsys.readouterr().out, "utf-8")
    table = phase_table(out)
    assert (table.card, table.driver, table.date, table.commit) == ("H100", "580.1", "2026-11-27", "abc1234")
    assert table.clock_ghz == 1.755, "the clock while it was timed, not the card's largest"
    assert table.warp_instructions == {row_name(CASES[0]): 445171}
    assert {row_name(case) for case in MEASURED_CASES} <= set(table.rows)
    assert set(table.rows.values()) == {tuple(1.0 + number for number in range(len(NAMES)))}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda found: found.update(made_up="a dry run"),
            "must be measured on a card; this record is a dry run",
        ),
        (lambda found: found.update(steps=[]), "must be one of the hardware rung with its step phases"),
        (lambda found: found.pop("machine"), "KeyError: 'machine'"),
        (lambda found: found["steps"][0]["figures"]["rows"][0]["us"].popitem(), "KeyError"),
    ],
)
def test_what_is_no_record_of_a_measured_phase_table_is_refused(
    change: Callable[[dict[str, Any]], object], words: str
) -> None:
    changed = record()
    change(changed)
    with pytest.raises(UsageError, match=words):
        table_from_record(changed, "abc")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.json"), "--commit", "abc"]) == 2
    assert "must be a record of the rung" in capsys.readouterr().err
