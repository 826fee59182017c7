"""A packed scorer as one file, for applications in C++ (``edgeosr/fused_score.h``).

    python -m edgeosr.kernels.packed_file NAME.edgeosr/scorer.npz scorer.bin [--fp32]

512 bytes of header (``EDGEOSR3``, the fields of C++'s ``PackedScorer`` in order, zeros), then the data.
"""

import argparse
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeosr.errors import EdgeosrError
from edgeosr.kernels.packing import PackedScorer, pack_scorer
from edgeosr.scoring.limits import KERNEL_LIMITS
from edgeosr.scoring.scorer_file import read_scorer

MAGIC = b"EDGEOSR3"
HEADER_BYTES = 512


def packed_file(packed: PackedScorer) -> bytes:
    """Return the file's bytes."""
    signed = [
        *(packed.half, packed.dimension, packed.classes, packed.head, packed.closed_form, packed.probes),
        *(packed.activation, packed.smooth, packed.taps, len(packed.widths)),
        *_six(packed.widths),
        *(packed.hidden_rows, packed.rows),
    ]
    unsigned = [
        *(packed.split_at, packed.split_bias_at, *_six(packed.layer_at), *_six(packed.bias_at)),
        *(packed.later_at, packed.later_bytes, packed.table_at, packed.offsets_at, len(packed.data)),
    ]
    words = struct.pack(f"<{len(signed)}i{len(unsigned)}I", *map(int, signed), *unsigned)
    words += struct.pack("<i", len(packed.parts))
    for part in packed.parts:
        words += struct.pack("<iiiI", part.code, part.row, part.rows, part.numbers_at)
    return (MAGIC + words).ljust(HEADER_BYTES, b"\0") + packed.data


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m edgeosr.kernels.packed_file", description="Pack scorer.npz for the C++ launcher."
    )
    parser.add_argument("scorer", type=Path, help="scorer.npz of a bundle")
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--fp32", action="store_true", help="fp32 weights: for sm_72, or more exact scores")
    options = parser.parse_args(arguments)
    try:
        packed = pack_scorer(read_scorer(options.scorer.read_bytes()), half=not options.fp32)
        options.out.write_bytes(packed_file(packed))
    except (OSError, EdgeosrError) as error:
        print(f"error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    print(f"{options.out}: {len(packed.data)} bytes for the device")
    return 0


def _six(values: Sequence[int]) -> list[int]:
    return [*values, *[0] * (KERNEL_LIMITS.layers - len(values))]


if __name__ == "__main__":
    sys.exit(main())
