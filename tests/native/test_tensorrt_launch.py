"""The plug-in for TensorRT launches in clusters: its kernel.cpp over a driver that prints its calls."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeosr.kernels.build.sources import FOLDER as KERNEL
from edgeosr.kernels.build.toolchain import find_nvcc
from edgeosr.runtime.native.build import HERE as LIBRARY

Launched = Callable[..., list[str]]
PLUGIN, DOUBLE = LIBRARY / "tensorrt", Path(__file__).parent / "tensorrt" / "kernel_double.cpp"
PLAIN = ["cuLaunchKernel", "  48 x 512, 50000 bytes, stream 0x5eed", "  batch 3"]
CLUSTERS = "  48 x 512, 60000 bytes, stream {}, attribute 4: 8 1 1"
ASKED = ["cuOccupancyMaxActiveClusters", CLUSTERS.format("(nil)")]
CLUSTERED = ["cuLaunchKernelEx", CLUSTERS.format("0x5eed"), "  batch 3"]


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """Run it; return what it printed."""
    program = tmp_path_factory.mktemp("kernel") / "kernel"
    folders = (PLUGIN, LIBRARY / "src", LIBRARY / "include", KERNEL.parent / "include", KERNEL)
    sources = (
        DOUBLE,
        PLUGIN / "kernel.cpp",
        *(LIBRARY / f"src/base/{one}.cpp" for one in ("failure", "file")),
    )
    strict = ("-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined")
    include = (*(f"-I{folder}" for folder in folders), "-isystem", find_nvcc().include)
    done = subprocess.run(["g++", *strict, *include, *sources, "-o", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]

    def lines(
        *,
        device: int = 90,
        build: int = 90,
        clusters: int = 2,
        failing: str = "-",
        missing: str = "-",
        launches: int = 1,
    ) -> list[str]:
        words = (device, build, clusters, failing, missing, launches)
        done = subprocess.run([program, *map(str, words)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return lines


def test_a_plan_without_clusters_is_launched_as_ever_and_nothing_is_asked(launched: Launched) -> None:
    assert launched(device=87, build=87) == PLAIN


def test_a_plan_with_clusters_is_launched_so_and_the_device_is_asked_once(launched: Launched) -> None:
    assert launched(launches=3) == ASKED + 3 * CLUSTERED


@pytest.mark.parametrize("how", [{"clusters": 0}, {"failing": "cuOccupancyMaxActiveClusters"}], ids=str)
def test_a_device_without_a_place_gets_a_plan_without_clusters(
    launched: Launched, how: dict[str, object]
) -> None:
    assert launched(launches=2, **how) == ASKED + 2 * PLAIN


@pytest.mark.parametrize("call", ["cuLaunchKernelEx", "cuOccupancyMaxActiveClusters"])
def test_a_driver_that_knows_no_clusters_gets_a_plan_without(launched: Launched, call: str) -> None:
    assert launched(missing=call) == PLAIN


def test_a_build_for_devices_without_clusters_is_launched_without_on_any(launched: Launched) -> None:
    assert launched(device=100, build=75) == PLAIN


def test_a_launch_that_fails_names_the_call(launched: Launched) -> None:
    assert launched(failing="cuLaunchKernelEx")[-1] == "cuLaunchKernelEx failed: 801"
