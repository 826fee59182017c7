"""The machine code that the card ran (commit f9077d1, sm_90) and its launches, ready to be counted.

``counting/card`` holds nvdisasm's listings of two kernels (fp16 and fp32 weights), reduced to what the reader
needs, and the parameters of all launches that were timed or counted there. Weights and maps are random: how
often an instruction runs hardly depends on them. Run as a program, it counts them anew for
``bench/kernel_counts.json``, in some minutes: python tests/kernels/card_launches.py
"""

import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np

from edgeosr.bench import kernel_counts
from edgeosr.bench.phase_table import measured_tables
from edgeosr.kernels.counting.compiled import Compiled
from edgeosr.kernels.counting.launch import Launch, run_launch

FOLDER = Path(__file__).parent / "counting" / "card"
VERDICT_BYTES = 32  # of that commit


def card_build() -> Compiled:
    """The machine code."""
    listings = sorted(FOLDER.glob("*-sm_90.sass.xz"))
    text = "".join(lzma.decompress(path.read_bytes()).decode() for path in listings)
    begins = [(phase, name, line) for phase, name, line in _document()["begins"]]
    return Compiled("sm_90", text, b"", begins)


def card_launch(name: str) -> Launch:
    """One launch."""
    document = _document()
    row = document["launches"][name]
    rng = np.random.default_rng(5)
    weights = np.dtype(np.float32 if name.endswith("fp32") else np.float16)
    scorer = rng.normal(0, 0.05, row["scorer_bytes"] // weights.itemsize).astype(weights).view(np.uint8)
    for at, piece in row["scorer_pieces"].items():
        words = np.frombuffer(bytes.fromhex(piece), np.uint8)
        scorer[int(at) : int(at) + len(words)] = words
    workspace = np.full(row["workspace_bytes"] // 4, 0xFFFFFFFF, np.uint32)
    workspace[: row["counter_bytes"] // 4] = 0
    arrays = {
        "input": rng.normal(0.2, 1, row["elements"]).astype(np.float16),
        "scorer": scorer,
        "workspace": workspace,
        "verdicts": np.zeros(row["batch"] * VERDICT_BYTES, np.uint8),
    }
    shape = {name: row[name] for name in ("entry", "blocks", "slabs", "threads", "shared_bytes")}
    return Launch(
        **shape,
        parameters=bytes.fromhex(row["parameters"]),
        pointers=document["pointers"],
        arrays=arrays,
    )


def launch_names() -> list[str]:
    """All of them."""
    return list(_document()["launches"])


def _document() -> Any:
    return json.loads((FOLDER / "launches.json").read_text("utf-8"))


def main() -> None:
    """Count all of them, and put them into the file of counts."""
    (table,) = [table for table in measured_tables() if table.commit == _document()["commit"]]
    kept = json.loads(kernel_counts.FILE.read_text("utf-8"))
    build = card_build()
    rows = {name: run_launch(build, card_launch(name)).counts.as_record() for name in _document()["launches"]}
    kept["sources"][table.source]["architectures"][build.architecture] = rows
    kernel_counts.FILE.write_text(kernel_counts.text_of(kept), encoding="utf-8")


if __name__ == "__main__":
    main()
