"""The launcher for C++ plans as Python does, and builds and links where nvcc is."""

import ctypes
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fused_cases import random_scorer
from host_planner import HostPlan, ScoreInput, map_case, random_case, run, with_rows
from kernel_entries import ENTRIES

from edgeosr.errors import UsageError
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.build.toolchain import Nvcc, find_nvcc
from edgeosr.kernels.packed_file import main as packed_file_main
from edgeosr.kernels.packed_file import packed_file
from edgeosr.kernels.packing import PackedScorer, pack_scorer
from edgeosr.kernels.params import FusedScoreParams
from edgeosr.kernels.plan import MapShape, TangentShape, plan_launch
from edgeosr.scoring.scorer_file import write_scorer

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels"
CACHE = ROOT / "build" / "host"


def cuda_of(nvcc: Nvcc) -> list[str]:
    """Where CMake finds CUDA: NVIDIA's wheels have no libcudart.so without a version, which it looks for."""
    shared = min(nvcc.library.glob("libcudart.so*"))
    return [
        f"-DCUDAToolkit_ROOT={nvcc.include.parent}",
        f"-DCUDA_CUDART={shared}",
        f"-DCUDA_cudart_LIBRARY={shared}",
        f"-DCUDA_cudart_static_LIBRARY={nvcc.library / 'libcudart_static.a'}",
    ]


def layout_of(packed: PackedScorer) -> ctypes.Array[ctypes.c_char]:
    """The bytes of the C++ PackedScorer."""
    return ctypes.create_string_buffer(packed_file(packed)[8:512], 504)


def c_input(shape: MapShape | TangentShape, batch: int, multiprocessors: int) -> ScoreInput:
    if isinstance(shape, MapShape):
        return ScoreInput(
            batch=batch,
            half=shape.half,
            height=shape.height,
            width=shape.width,
            channels_last=shape.layout == "nhwc",
            position_stride=shape.position_stride,
            sample_stride=shape.sample_stride,
            multiprocessors=multiprocessors,
        )
    return ScoreInput(
        batch=batch,
        half=shape.half,
        probes=shape.probes,
        sample_stride=shape.sample_stride,
        tangent_sample_stride=shape.tangent_sample_stride,
        probe_stride=shape.probe_stride,
        multiprocessors=multiprocessors,
    )


def test_both_plans_agree_on_random_shapes_or_refuse_in_the_same_words(host: ctypes.CDLL) -> None:
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(60):
        case, shape, batch = random_case(rng)
        many = int(rng.choice([0, 8, 30, 132, 4096, 4097]))
        packed = pack_scorer(with_rows(random_scorer(case)), half=case.half_weights)
        found = HostPlan()
        given = c_input(shape, batch, many)
        error = host.host_plan(layout_of(packed), ctypes.byref(given), ctypes.byref(found))
        try:
            expected = plan_launch(packed, shape, batch, multiprocessors=many)
        except UsageError as words:
            refused += 1
            assert error is not None and error.decode() == str(words)
            continue
        assert error is None, (case, shape, error)
        assert ENTRIES[found.entry] == expected.entry
        for name in ("blocks", "tile", "shared_bytes", "workspace_bytes", "counter_bytes"):
            assert getattr(found, name) == getattr(expected, name), (name, case, shape, batch, many)
        for name, *_ in FusedScoreParams._fields_:
            got, want = getattr(found.params, name), getattr(expected.params, name)
            same = bytes(got) == bytes(want) if isinstance(got, ctypes.Array) else got == want
            assert same, (name, case, shape, batch, many)
    assert refused < 30


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch": 1025}, "the batch must be from 0 to 1024 for the fused kernel; got 1025"),
        (
            {"height": 17, "width": 16},
            "the map's positions must be from 1 to 256 for the fused kernel; got 272",
        ),
        ({"height": 0, "width": 0}, "the scorer has a closed form; the fused kernel needs the map, not z"),
        ({"sample_stride": 5}, "sample_stride must be at least 2048 elements; got 5"),
        ({"channels_last": 1, "position_stride": 64}, "position_stride must be at least D = 128; got 64"),
        ({"sample_stride": 2**30, "batch": 8}, "an input must have fewer than 2^31 elements"),
    ],
)
def test_the_host_refuses_before_a_launch_saying_expected_and_got(
    host: ctypes.CDLL, change: dict[str, int], words: str
) -> None:
    packed = pack_scorer(random_scorer(map_case()), half=True)
    given = {"batch": 1, "half": 1, "height": 4, "width": 4, **change}
    error = host.host_plan(layout_of(packed), ctypes.byref(ScoreInput(**given)), ctypes.byref(HostPlan()))
    assert error is not None and error.decode().startswith(words)


def test_the_packing_command_writes_the_file_and_words_its_errors(tmp_path: Path, capsys) -> None:
    (tmp_path / "scorer.npz").write_bytes(write_scorer(random_scorer(map_case())))
    words = [str(tmp_path / "scorer.npz"), str(tmp_path / "scorer.bin")]
    assert packed_file_main(words) == 0
    assert (tmp_path / "scorer.bin").read_bytes()[:8] == b"EDGEOSR2"
    (tmp_path / "scorer.npz").write_bytes(b"damaged")
    assert packed_file_main(words) == 1
    assert "scorer.npz cannot be read" in capsys.readouterr().err


def test_the_launcher_header_includes_only_cuda_runtime_and_the_standard() -> None:
    text = (KERNELS / "include/edgeosr/fused_score.h").read_text("utf-8")
    assert set(re.findall(r"#include <(.*)>", text)) == {"cuda_runtime.h", "cstddef", "cstdint"}
    assert '#include "' not in text


@pytest.fixture(scope="module")
def built() -> Path:
    """The CMake project, built and installed for sm_87 as its users do; kept by the digest of its sources."""
    inputs = [ROOT / "CMakeLists.txt", *sorted(KERNELS.rglob("*.[ch]*")), *sorted(KERNELS.glob("CMake*"))]
    digest = hashlib.sha256(device_source().digest.encode())
    for path in inputs:
        if "simt" not in path.parts and path.is_file() and path.suffix != ".cubin":
            digest.update(path.read_bytes())
    folder = CACHE / digest.hexdigest()[:16]
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        nvcc = find_nvcc()
        run(
            "cmake",
            f"-S{ROOT}",
            f"-B{folder / 'build'}",
            f"-DCMAKE_CUDA_COMPILER={nvcc.path}",
            "-DCMAKE_CUDA_ARCHITECTURES=87-real",
            f"-DCMAKE_CUDA_FLAGS=-L{nvcc.library}",
            *cuda_of(nvcc),
            f"-DCMAKE_INSTALL_PREFIX={folder / 'installed'}",
        )
        run("cmake", "--build", str(folder / "build"), "-j2")
        run("cmake", "--install", str(folder / "build"))
        (folder / "done").touch()
    return folder


def test_cmake_builds_and_installs_both_libraries_the_header_and_a_package(built: Path) -> None:
    names = {path.name for path in (built / "installed").rglob("*") if path.is_file()}
    assert {"libedgeosr_kernels.a", "libedgeosr_kernels.so", "fused_score.h", "edgeosr-config.cmake"} <= names


def test_an_application_finds_the_package_and_the_example_says_that_there_is_no_driver(
    built: Path, tmp_path: Path
) -> None:
    nvcc = find_nvcc()
    (tmp_path / "scorer.bin").write_bytes(packed_file(pack_scorer(random_scorer(map_case()), half=True)))
    (tmp_path / "map.f16").write_bytes(np.zeros((2, 128, 4, 4), np.float16).tobytes())
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\nproject(app LANGUAGES CXX)\n"
        "find_package(edgeosr REQUIRED)\n"
        f"add_executable(app {KERNELS / 'examples/score_map.cpp'})\n"
        "target_link_libraries(app PRIVATE edgeosr::kernels)\n"
    )
    run(
        "cmake",
        f"-S{tmp_path}",
        f"-B{tmp_path / 'b'}",
        f"-Dedgeosr_DIR={built / 'installed/lib/cmake/edgeosr'}",
        *cuda_of(nvcc),
    )
    run("cmake", "--build", str(tmp_path / "b"))
    words = [str(tmp_path / "b/app"), str(tmp_path / "scorer.bin"), str(tmp_path / "map.f16"), "4", "4"]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode == 0:  # a machine with a device
        assert "score" in done.stdout
    else:
        assert re.search(
            r"cuda\w+\(.*\): (CUDA driver version is insufficient|no CUDA-capable device)", done.stderr
        )


def test_the_example_is_about_sixty_lines() -> None:
    assert len((KERNELS / "examples/score_map.cpp").read_text("utf-8").splitlines()) <= 80
