"""libedgeosr with the sanitizers: ``python tests/native/sanitizers.py [address] [thread]``.

A program calls everything that the header offers, from several threads, and opens hostile bundles; another
ends while threads judge, and has OpenVINO fail while others wait for it; a third runs the plug-in for
TensorRT over doubles (``sanitizers_tensorrt.py``). They are built with the sanitizer, the library too;
onnxruntime and OpenVINO are those that are installed, which are not. Prints a line for each, and exits with 1
if one found something.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import sanitizers_tensorrt  # noqa: E402  # the folder comes first
from openvino_shim import build_shim  # noqa: E402

from edgeosr.bench.reliability.spoil import spoilt  # noqa: E402  # the folder comes first
from edgeosr.bundle.digest import manifest_with_digest  # noqa: E402
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
EXITS = 2
# What onnxruntime and OpenVINO keep for the life of a process is not ours, nor how they share memory.
LEAKS = "".join(f"leak:{name}\n" for name in ("libonnxruntime", "libopenvino", "libtbb", "libhwloc"))
# Runtimes up to GCC 13's take a block of a plugin's thread-local storage for one of an old glibc by where it
# happens to lie, and end reading it (google/sanitizers#1322): "Tracer caught signal 11".
PLUGINS = "intercept_tls_get_addr=0"
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
    return {**files, "model.onnx": model, "manifest.json": manifest_with_digest(document)}


def program(kind: str, folder: Path, name: str) -> Path:
    """Build the library and ``NAME.cpp`` with one sanitizer; returns the program."""
    flags = (*COMMON, SANITIZERS[kind])
    library = build(folder / kind / SONAME, objects=ROOT / OBJECTS, flags=flags)
    made = folder / kind / name
    source = [*flags, "-I", str(LIBRARY / "include"), str(HERE / f"{name}.cpp")]
    linked = [str(library), f"-Wl,-rpath,{library.parent}", "-pthread", "-ldl", "-o", str(made)]
    subprocess.run(["c++", "-std=c++17", *WARNINGS, *source, *linked], check=True)
    return made


def run(kind: str, folder: Path, what: str, command: list[Any], **variables: str) -> bool:
    """Run a program under its sanitizer; return whether that found nothing."""
    suppressions = folder / f"{kind}.txt"
    mutexes = MUTEXES if "openvino" in what else ""
    suppressions.write_text(LEAKS if kind == "address" else RACES, "utf-8")
    environment = {
        **os.environ,
        ONNXRUNTIME_VARIABLE: onnxruntime_library(),
        OPENVINO_VARIABLE: openvino_library(),
        "ASAN_OPTIONS": PLUGINS,
        "LSAN_OPTIONS": f"suppressions={suppressions}:print_suppressions=0",
        "TSAN_OPTIONS": f"suppressions={suppressions}:halt_on_error=1:{PLUGINS}{mutexes}",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        **variables,
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    good = done.returncode == 0
    print(f"{kind}, {what}: {done.stdout.strip() if good else f'FAILED ({done.returncode})'}")
    if not good:
        print(done.stdout[-2000:], done.stderr[-8000:], file=sys.stderr)
    return good


def ends(kind: str, folder: Path, bundle: Path, cut: Path) -> list[bool]:
    """Run what ends while threads judge."""
    made = program(kind, folder, "exercise_ends")
    copy = folder / f"{kind}.edgeosr"  # it is removed while it is open
    shutil.copytree(cut, copy)
    shim = build_shim(folder, openvino_library())
    found = [run(kind, folder, "openvino fails", [made, "network", copy], **{OPENVINO_VARIABLE: str(shim)})]
    if kind == "address":  # the other one must not see onnxruntime's own end
        # At exit nothing is joined, so what threads still hold is no leak.
        told = f"{PLUGINS}:detect_leaks=0"
        found += [
            run(kind, folder, f"exit {turn}", [made, "exit", bundle], ASAN_OPTIONS=told)
            for turn in range(EXITS)
        ]
    return found


def on_tensorrt(kind: str, folder: Path, paths: list[Path]) -> list[bool]:
    """Run the plug-in for TensorRT, on a GPU with memory of its own and on one that shares the host's."""
    flags = (*COMMON, SANITIZERS[kind])
    library = build(folder / kind / SONAME, objects=ROOT / OBJECTS, flags=flags)
    made, variables = sanitizers_tensorrt.exercise(folder / kind, flags, library)
    variables["EDGEOSR_CUBINS"] = str(folder / sanitizers_tensorrt.CUBINS)
    command = [made, folder / kind / sanitizers_tensorrt.NVINFER, *paths]
    return [
        run(kind, folder, f"tensorrt, {memory}", [*command, *more], **variables)
        for memory, more in (("own memory", []), ("shared memory", ["integrated"]))
    ]


def main() -> int:
    """Run those that are named, or all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths, cut = small_bundles(folder), bundles_for_openvino(folder)
        engines = sanitizers_tensorrt.bundles(folder / "engines")
        sanitizers_tensorrt.lay_cubins(folder)
        good = []
        for kind in sys.argv[1:] or SANITIZERS:
            made = program(kind, folder, "exercise")
            good.append(run(kind, folder, "default back end", [made, *paths]))
            good.append(run(kind, folder, "openvino", [made, *cut], EXERCISE_BACKEND="openvino"))
            good += ends(kind, folder, paths[0], cut[0])
            good += on_tensorrt(kind, folder, engines)
        return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
