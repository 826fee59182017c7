"""The rung's step ``plans`` from end to end, on a card made of doubles."""

import json
import subprocess
import sys
from pathlib import Path

from edgeosr.bench.plan_table import measured_rows

DRY_MACHINE = Path(__file__).parents[2] / "gpu" / "dry_machine.py"


def test_every_plan_is_timed_as_a_graph_and_a_row_made_of_the_fastest(tmp_path: Path) -> None:
    out = tmp_path / "plans.json"
    words = [
        *(sys.executable, str(DRY_MACHINE), "-m", "edgeosr.bench.gpu_rung.plans"),
        *("--small", "--report", str(out)),
    ]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    step = json.loads(out.read_text("utf-8"))
    figures = step["figures"]
    # In clusters, which fp16 weights have on this card, warps of their own are no choice.
    assert [len(row["us"]) for row in figures["rows"]] == [1, 3, 1, 3]
    assert all(row["rule"] in row["us"] and min(row["us"].values()) > 0 for row in figures["rows"])
    rows = measured_rows({"made_up": "", "steps": [{"name": "plans", "outcome": "passed", **step}]})
    assert {(row.weights, row.slabs) for row in rows} == {("fp16", 8), ("fp32", 3)}
    assert all(row.decides for row in rows)
