"""The machine code that the card ran (commit f9077d1, sm_90) and three of its launches, ready to be counted.

``counting/card`` holds nvdisasm's listing of one kernel, reduced to what the reader needs, and the launches'
parameters. Weights and maps are random: how often an instruction runs does not depend on them.
"""

import json
import lzma
from pathlib import Path
from typing import Any

import numpy as np

from edgeosr.kernels.counting.compiled import Compiled
from edgeosr.kernels.counting.launch import Launch

FOLDER = Path(__file__).parent / "counting" / "card"
VERDICT_BYTES = 32  # of that commit


def card_build() -> Compiled:
    """The machine code."""
    text = lzma.decompress((FOLDER / "fused_score_map_mma_f16-sm_90.sass.xz").read_bytes()).decode()
    begins = [(phase, name, line) for phase, name, line in _document()["begins"]]
    return Compiled("sm_90", text, b"", begins)


def card_launch(name: str) -> Launch:
    """One launch."""
    document = _document()
    row = document["launches"][name]
    rng = np.random.default_rng(5)
    scorer = rng.normal(0, 0.05, row["scorer_bytes"] // 2).astype(np.float16).view(np.uint8)
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


def _document() -> Any:
    return json.loads((FOLDER / "launches.json").read_text("utf-8"))
