"""The launcher for C++ plans as Python does, and builds and links where nvcc is."""

import ctypes
import hashlib
import itertools
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fused_cases import random_scorer
from host_planner import CPlanRow, HostPlan, ScoreInput, map_case, random_case, run, with_rows
from kernel_entries import CLUSTER_ENTRIES, ENTRIES

from edgeosr.errors import UsageError
from edgeosr.kernels.build.sources import device_source
from edgeosr.kernels.build.toolchain import Nvcc, find_nvcc
from edgeosr.kernels.packed_file import main as packed_file_main
from edgeosr.kernels.packed_file import packed_file
from edgeosr.kernels.packing import PackedScorer, pack_scorer
from edgeosr.kernels.params import FusedScoreParams
from edgeosr.kernels.plan import LaunchPlan, MapShape, TangentShape, plan_launch
from edgeosr.kernels.plan_table import (
    FILE,
    MEASURED,
    PREDICTED,
    RANGES,
    PlanRow,
    PlanTable,
    inc_text,
    usable_table,
)
from edgeosr.kernels.sharing import MOST_MULTIPROCESSORS, MOST_SLABS
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


def c_input(
    shape: MapShape | TangentShape, batch: int, multiprocessors: int, architecture: int = 0
) -> ScoreInput:
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
            architecture=architecture,
        )
    return ScoreInput(
        batch=batch,
        half=shape.half,
        probes=shape.probes,
        sample_stride=shape.sample_stride,
        tangent_sample_stride=shape.tangent_sample_stride,
        probe_stride=shape.probe_stride,
        multiprocessors=multiprocessors,
        architecture=architecture,
    )


def require_same(found: HostPlan, expected: LaunchPlan, where: object) -> None:
    assert (*ENTRIES, *CLUSTER_ENTRIES)[found.entry] == expected.entry
    for name in ("blocks", "tile", "cluster", "shared_bytes", "workspace_bytes", "counter_bytes"):
        assert getattr(found, name) == getattr(expected, name), (name, where)
    assert found.origin.decode() == expected.origin, where
    for name, *_ in FusedScoreParams._fields_:
        got, want = getattr(found.params, name), getattr(expected.params, name)
        same = bytes(got) == bytes(want) if isinstance(got, ctypes.Array) else got == want
        assert same, (name, where)


def test_both_plans_agree_on_random_shapes_or_refuse_in_the_same_words(host: ctypes.CDLL) -> None:
    rng = np.random.default_rng(5)
    refused, clusters = 0, set()
    for _ in range(100):
        case, shape, batch = random_case(rng)
        many = int(rng.choice([0, 8, 30, 132, 4096, 4097]))
        device = int(rng.choice([0, 87, 90, 120]))
        packed = pack_scorer(with_rows(random_scorer(case)), half=case.half_weights)
        found = HostPlan()
        given = c_input(shape, batch, many, device)
        error = host.host_plan(layout_of(packed), ctypes.byref(given), ctypes.byref(found))
        try:
            expected = plan_launch(
                packed, shape, batch, multiprocessors=many, architecture=f"sm_{device}" if device else ""
            )
        except UsageError as words:
            refused += 1
            assert error is not None and error.decode() == str(words)
            continue
        assert error is None, (case, shape, error)
        require_same(found, expected, (case, shape, batch, many, device))
        clusters.add(found.cluster)
    assert refused < 50
    assert clusters == {1, 8}


def test_a_workspace_serves_a_launch_with_clusters_and_without(host: ctypes.CDLL) -> None:
    for dimension in (16, 128, 256, 512, 1280):
        packed = pack_scorer(random_scorer(map_case(dimension=dimension)), half=True)
        sizes, clusters = set(), set()
        for device in (0, 90):
            found, given = HostPlan(), c_input(MapShape(height=4, width=4), 8, 132, device)
            assert host.host_plan(layout_of(packed), ctypes.byref(given), ctypes.byref(found)) is None
            sizes.add((found.workspace_bytes, found.counter_bytes))
            clusters.add(found.cluster)
        assert clusters == {1, 8} and len(sizes) == 1, dimension


def test_both_plans_stage_as_much_of_the_map_in_clusters(host: ctypes.CDLL) -> None:
    staged = set()
    for dimension in (512, 1280):
        case = map_case(dimension=dimension, discriminator="wide", classes=10)
        packed, shape = pack_scorer(random_scorer(case), half=True), MapShape(height=7, width=7)
        for device, many, batch in itertools.product((90, 110, 120), (0, 132), (16, 64, 96)):
            found, given = HostPlan(), c_input(shape, batch, many, device)
            rows = (ctypes.byref(given), ctypes.byref(found), (CPlanRow * 0)(), 0)
            assert host.host_plan_by(layout_of(packed), *rows) is None
            expected = plan_launch(
                packed,
                shape,
                batch,
                multiprocessors=many,
                architecture=f"sm_{device}",
                table=PlanTable(),
            )
            require_same(found, expected, (dimension, device, many, batch))
            staged.add((dimension, device, expected.tile, expected.params.chunks_per_half))
    assert {(512, 90, 8, 32), (512, 120, 8, 8), (1280, 90, 8, 16), (1280, 90, 2, 8)} <= staged


def random_rows(rng: np.random.Generator) -> tuple[PlanRow, ...]:
    """Rows of two devices, wide and narrow, for both kinds of weights; some fit few launches."""
    return tuple(
        PlanRow(
            architecture=str(rng.choice(["sm_87", "sm_90"])),
            multiprocessors=int(rng.choice([8, 132])),
            weights=str(rng.choice(["fp16", "fp32"])),
            dimension=(int(rng.choice([1, 1, 512])), 2048),
            positions=(int(rng.choice([0, 1, 49])), 256),
            batch=(int(rng.choice([1, 1, 9])), int(rng.choice([16, 1024]))),
            slabs=int(rng.choice([1, 8, 16, 16])),
            samples=int(rng.choice([1, 2, 4, 8])),
            class_warps=int(rng.choice([0, 4])),
            origin=f"{MEASURED}card {number}",
            us=1.0,
            rule_us=1.0,
        )
        for number in range(40)
    )


def test_both_plans_take_the_same_row_of_a_table(host: ctypes.CDLL) -> None:
    rng = np.random.default_rng(6)
    origins = set()
    for _ in range(80):
        case, shape, batch = random_case(rng)
        rows, many, architecture = (
            random_rows(rng),
            int(rng.choice([0, 8, 132])),
            int(rng.choice([0, 87, 90])),
        )
        packed = pack_scorer(random_scorer(case), half=case.half_weights)
        target = f"sm_{architecture}" if architecture else ""
        try:
            expected = plan_launch(
                packed, shape, batch, multiprocessors=many, architecture=target, table=PlanTable(rows)
            )
        except UsageError:
            continue  # see above
        origins.add(expected.origin)
        given, found = c_input(shape, batch, many, architecture), HostPlan()
        c_rows = (CPlanRow * len(rows))(*map(c_row, rows))
        error = host.host_plan_by(
            layout_of(packed), ctypes.byref(given), ctypes.byref(found), c_rows, len(rows)
        )
        assert error is None, error
        require_same(found, expected, (case, shape, batch, many, architecture))
    assert "rule" in origins and len(origins) > 4, origins


def c_row(row: PlanRow) -> CPlanRow:
    return CPlanRow(
        architecture=int(row.architecture[3:]),
        multiprocessors=row.multiprocessors,
        half=row.weights == "fp16",
        dimension=row.dimension,
        positions=row.positions,
        batch=row.batch,
        slabs=row.slabs,
        samples=row.samples,
        class_warps=row.class_warps,
        origin=f"table, {row.origin}".encode(),
    )


def test_the_rows_that_c_plus_plus_has_are_the_measured_ones_of_this_source(host: ctypes.CDLL) -> None:
    table = usable_table(FILE, device_source().digest)
    assert (KERNELS / "src/plan_table.inc").read_text("utf-8") == inc_text(table), (
        "make it again: python -m edgeosr.bench.plan_table --keep"
    )
    assert host.host_plan_rows() == sum(row.decides for row in table.rows)


def test_a_measured_row_is_code_and_a_predicted_one_is_not(tmp_path: Path) -> None:
    row = random_rows(np.random.default_rng(1))[0]
    largest = PlanRow(
        architecture="sm_999",
        multiprocessors=MOST_MULTIPROCESSORS,
        weights="fp16",
        dimension=RANGES["dimension"],
        positions=RANGES["positions"],
        batch=RANGES["batch"],
        slabs=MOST_SLABS,
        samples=8,
        class_warps=4,
        origin=MEASURED + "".join(map(chr, range(32, 127))),
        us=sys.float_info.max,
        rule_us=1.0,
    )
    rows = (
        row,
        replace(row, origin=PREDICTED),
        replace(row, origin=MEASURED + 'a "card" \\ of ??/ two names'),
        largest,
    )
    (tmp_path / "plan_table.inc").write_text(inc_text(PlanTable(rows)), "utf-8")
    (tmp_path / "main.cpp").write_text(
        '#include <edgeosr/fused_score.h>\n#include <cstdio>\n#include "plan.h"\n'
        'constexpr edgeosr::PlanRow rows[] = {\n#include "plan_table.inc"\n};\n'
        "int main() { for (auto const& row : rows) std::puts(row.origin); }\n"
    )
    include = (f"-isystem{find_nvcc().include}", f"-I{KERNELS / 'include'}", f"-I{KERNELS / 'src'}")
    run("g++", "-std=c++17", *include, str(tmp_path / "main.cpp"), "-o", str(tmp_path / "main"))
    assert run(str(tmp_path / "main")).splitlines() == [
        f"table, {rows[0].origin}",
        f"table, {rows[2].origin}",
        f"table, {largest.origin}",
    ]


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
    assert (tmp_path / "scorer.bin").read_bytes()[:8] == b"EDGEOSR3"
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
