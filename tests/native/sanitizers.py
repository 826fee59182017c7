"""libedgeosr with the sanitizers: ``python tests/native/sanitizers.py [address] [thread]``.

A program calls everything that the header offers, from several threads, and opens hostile bundles. It is
built with the sanitizer, the library too; onnxruntime and OpenVINO are those that are installed, which are
not. Prints a line for each, and exits with 1 if one found something.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from edgeosr.bench.reliability.spoil import spoilt  # noqa: E402  # the folder comes first
from edgeosr.bundle.directory import write_bundle  # noqa: E402
from edgeosr.bundle.manifest import parse_manifest  # noqa: E402
from edgeosr.files import sha256_of  # noqa: E402
from edgeosr.runtime.golden import write_golden  # noqa: E402
from edgeosr.runtime.native.build import HERE as LIBRARY  # noqa: E402
from edgeosr.runtime.native.build import OBJECTS, SONAME, WARNINGS, build  # noqa: E402
from edgeosr.runtime.native.library import (  # noqa: E402
    ONNXRUNTIME_VARIABLE,
    OPENVINO_VARIABLE,
    onnxruntime_library,
    openvino_library,
)
from edgeosr.scoring.scorer_file import write_scorer  # noqa: E402

COMMON = ("-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all")
SANITIZERS = {"address": "-fsanitize=address,undefined", "thread": "-fsanitize=thread"}
HOSTILE = 140
# What onnxruntime and OpenVINO keep for the life of a process is not ours, nor how they share memory.
LEAKS = "".join(f"leak:{name}\n" for name in ("libonnxruntime", "libopenvino", "libtbb", "libhwloc"))
# It sees no mutex of theirs locked, and takes an unlock for a fault.
MUTEXES = ":report_mutex_bugs=0"
RACES = "".join(
    f"called_from_lib:{name}\n"
    for name in ("libonnxruntime", "libopenvino.so", "libopenvino_c.so", "libopenvino_intel_cpu", "libtbb.so")
)


def small_bundles(folder: Path, hostile: int = HOSTILE) -> list[Path]:
    """Write two bundles that differ in their classes' names, and so many hostile ones."""
    from conftest import TINY

    sample = ROOT / "tests" / "core" / "bundle" / "sample_manifest.json"
    manifest = parse_manifest(sample.read_bytes())
    names = ("cat", "dog", "bird", "fish")
    other = replace(manifest, classes=names, data=replace(manifest.data, known=names))
    paths = []
    for name, one in (("one", manifest), ("other", other)):
        files = {
            "model.onnx": TINY.build_graph(),
            "scorer.npz": write_scorer(TINY.scorer_of(one)),
            "golden.npz": write_golden(TINY.golden_verdicts()),
        }
        paths.append(folder / f"{name}.edgeosr")
        write_bundle(paths[-1], one, files)
    good = {each.name: each.read_bytes() for each in paths[0].iterdir()}
    paths.append(folder / "endless.edgeosr")
    paths[-1].mkdir()
    for name, data in with_an_endless_axis(good).items():
        (paths[-1] / name).write_bytes(data)
    for number in range(hostile):
        paths.append(folder / f"{number}.edgeosr")
        paths[-1].mkdir()
        for name, data in spoilt(good, number, seed=16)[1].items():
            (paths[-1] / name).write_bytes(data)
    return paths


def bundles_for_openvino(folder: Path) -> list[Path]:
    """Write two bundles whose graph can be cut where OpenVINO runs it from."""
    import body_bundles

    sample = ROOT / "tests" / "core" / "bundle" / "sample_manifest.json"
    manifest, module = parse_manifest(sample.read_bytes()), body_bundles.typed_bundles()
    return [
        module.write_typed_bundle(folder / f"{method}.edgeosr", manifest, method, "fp32", "cosine")
        for method in ("closed-form", "probes")
    ]


def with_an_endless_axis(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return a bundle whose graph has a constant of no elements and nearly endless length."""
    import onnx

    made = onnx.load_model_from_string(files["model.onnx"])
    made.graph.initializer.append(
        onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[(1 << 63) - 1, 0], raw_data=b"")
    )
    made.graph.node.append(onnx.helper.make_node("MatMul", ["values", "w"], ["y"]))
    model, document = bytes(made.SerializeToString()), json.loads(files["manifest.json"])
    document["files"]["model.onnx"] = {"sha256": sha256_of(model), "bytes": len(model)}
    return {**files, "model.onnx": model, "manifest.json": json.dumps(document).encode()}


def run(kind: str, folder: Path, paths: list[Path], backend: str = "") -> bool:
    """Build and run with one sanitizer, on a back end or on the default; return whether it found nothing."""
    flags = (*COMMON, SANITIZERS[kind])
    library = build(folder / kind / SONAME, objects=ROOT / OBJECTS, flags=flags)
    program = folder / kind / "exercise"
    command = [
        "c++",
        "-std=c++17",
        *WARNINGS,
        *flags,
        "-I",
        str(LIBRARY / "include"),
        str(HERE / "exercise.cpp"),
    ]
    command += [str(library), f"-Wl,-rpath,{library.parent}", "-pthread", "-o", str(program)]
    subprocess.run(command, check=True)
    suppressions = folder / f"{kind}.txt"
    suppressions.write_text(LEAKS if kind == "address" else RACES, "utf-8")
    environment = {
        **os.environ,
        ONNXRUNTIME_VARIABLE: onnxruntime_library(),
        OPENVINO_VARIABLE: openvino_library(),
        **({"EXERCISE_BACKEND": backend} if backend else {}),
        "LSAN_OPTIONS": f"suppressions={suppressions}:print_suppressions=0",
        "TSAN_OPTIONS": f"suppressions={suppressions}:halt_on_error=1{MUTEXES if backend else ''}",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    done = subprocess.run([program, *paths], capture_output=True, text=True, env=environment)
    good = done.returncode == 0
    ran = f"{kind} on {backend}" if backend else kind
    print(f"{ran}: {done.stdout.strip() if good else f'FAILED ({done.returncode})'}")
    if not good:
        print(done.stdout[-2000:], done.stderr[-8000:], file=sys.stderr)
    return good


def main() -> int:
    """Run those that are named, or all."""
    with tempfile.TemporaryDirectory() as folder:
        paths, cut = small_bundles(Path(folder)), bundles_for_openvino(Path(folder))
        kinds = sys.argv[1:] or SANITIZERS
        good = [run(kind, Path(folder), paths) for kind in kinds]
        good += [run(kind, Path(folder), cut, "openvino") for kind in kinds]
        return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
