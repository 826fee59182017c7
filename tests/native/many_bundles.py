"""Damaged and hostile bundles, read by Python and by libedgeosr, as many as are asked for.

    python tests/native/many_bundles.py NAME.edgeosr --count 6000 --seed 7 --first 100000

Prints how many of each kind both took and both refused, and exits with 1 if they differ on one.
"""

import argparse
import collections
import ctypes
import os
import shutil
import sys
import tempfile
from pathlib import Path

from edgeosr.bench.reliability.spoil import spoilt
from edgeosr.bundle.directory import read_bundle
from edgeosr.bundle.scorer import bundle_scorer
from edgeosr.errors import EdgeosrError
from edgeosr.runtime.golden import read_golden
from edgeosr.runtime.native.library import Options, load_library

READ, REFUSED = 4, 2  # statuses: no back end is there to go on with; a bundle that cannot be used


def refused_by_python(path: Path) -> str:
    """Return why; empty if it takes the bundle."""
    try:
        bundle = read_bundle(path)
        read_golden(bundle.files["golden.npz"], bundle.manifest)
        bundle_scorer(bundle)
    except EdgeosrError as error:
        return str(error) or "without a word"
    return ""


def refused_by_library(library: ctypes.CDLL, path: Path) -> tuple[int, str]:
    """Return the status, and its words."""
    options = Options(struct_bytes=ctypes.sizeof(Options), backend_library=b"/nowhere/lib.so", verify=1)
    handle = ctypes.c_void_p()
    status = library.edgeosr_open(os.fsencode(path), ctypes.byref(options), ctypes.byref(handle))
    return status, library.edgeosr_last_error().decode("utf-8", "replace")


def main() -> int:
    """Read them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the first one's number")
    arguments = parser.parse_args()
    library, counts, differences = load_library(), collections.Counter(), 0
    good = {each.name: each.read_bytes() for each in arguments.bundle.iterdir() if each.is_file()}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.first, arguments.first + arguments.count):
            kind, files = spoilt(good, number, arguments.seed)
            path = Path(folder) / "spoilt.edgeosr"
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
            for name, data in files.items():
                (path / name).write_bytes(data)
            why = refused_by_python(path)
            status, said = refused_by_library(library, path)
            counts[kind, "refused" if why else "taken"] += 1
            if status != (REFUSED if why else READ):
                differences += 1
                print(f"{number} {kind}: Python: {why or 'taken'}; libedgeosr: {status} {said}")
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind}: {count} {outcome}")
    print(f"{arguments.count} bundles, {differences} of them taken by one reader and refused by the other")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
