"""The launcher for C++, compiled without nvcc over a double of the CUDA runtime: launches in clusters."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from host_planner import KERNELS, run
from kernel_entries import CLUSTER_ENTRIES, ENTRIES

from edgeosr.kernels.build.toolchain import find_nvcc

Launched = Callable[..., list[str]]
PLAIN = "  48 x 512, 50000 bytes, stream 0x5eed"
CLUSTERED = "  48 x 512, 60000 bytes, stream 0x5eed, attribute 4: 8 1 1"
ASKED = ["cudaFuncGetAttributes", "cudaOccupancyMaxActiveClusters", CLUSTERED.replace("0x5eed", "(nil)")]
FINE = "launched: 0, left behind: 0"


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Launched:
    """Run it; return what it printed, without what the kernel got."""
    folder = tmp_path_factory.mktemp("launcher")
    shutil.copy(KERNELS / "src" / "launch.cu", folder / "launch.cpp")
    # The one thing in it that a host compiler cannot take.
    entries = "\n".join(
        f"void {name}(edgeosr::FusedScoreParams) {{}}" for name in (*ENTRIES, *CLUSTER_ENTRIES)
    )
    (folder / "fused_score.cu").write_text(f'#include "params.cuh"\n{entries}\n', "utf-8")
    sources = [str(folder / "launch.cpp"), str(Path(__file__).with_name("launch_double.cpp"))]
    include = (f"-isystem{find_nvcc().include}", f"-I{KERNELS / 'include'}", f"-I{KERNELS / 'src'}")
    strict = ("-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined")
    run("g++", *strict, *include, *sources, "-o", str(folder / "launcher"))

    def lines(
        *,
        ptx: int = 90,
        clusters: int = 2,
        failing: str = "-",
        devices: int = 1,
        launches: int = 1,
        numbered: bool = False,
    ) -> list[str]:
        said = (ptx, clusters, failing, devices, launches, int(numbered))
        words = [str(folder / "launcher"), *map(str, said)]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        kernels = re.findall(r"^  batch 3, verdicts at 0x\w+$", done.stdout, re.MULTILINE)
        # Verdicts have a number, or were cleared, never both.
        last = ["  numbered", "  cleared: 0 bytes"] if numbered else [f"  cleared: {3 * 80} bytes"]
        found = [line for line in done.stdout.splitlines() if line not in (*kernels, *last)]
        for line in ("cudaLaunchKernelExC", *last):
            assert len(kernels) == done.stdout.splitlines().count(line)
        return found

    return lines


def test_a_plan_without_clusters_is_launched_and_nothing_is_asked(launched: Launched) -> None:
    assert launched(ptx=0) == ["cudaLaunchKernelExC", PLAIN, FINE]


def test_verdicts_with_a_number_are_not_cleared(launched: Launched) -> None:
    each = ["cudaLaunchKernelExC", PLAIN, FINE]
    assert launched(ptx=0, launches=2, numbered=True) == [*each, *each]
    assert launched(numbered=True)[-3:] == ["cudaLaunchKernelExC", CLUSTERED, FINE]


def test_a_plan_with_clusters_is_launched_so_and_the_device_is_asked_once(launched: Launched) -> None:
    each = ["cudaLaunchKernelExC", CLUSTERED, FINE]
    assert launched(launches=3) == [*ASKED, *each, *each, *each]
    assert launched(launches=2, devices=2) == [*ASKED, *each, *ASKED, *each]


def test_a_device_without_a_place_gets_a_plan_without_clusters_and_is_asked_once(launched: Launched) -> None:
    each = ["cudaLaunchKernelExC", PLAIN, FINE]
    assert launched(clusters=0, launches=2) == [*ASKED, *each, *each]


@pytest.mark.parametrize("call", ["cudaFuncGetAttributes", "cudaOccupancyMaxActiveClusters"])
def test_a_question_that_fails_is_a_no_and_leaves_no_error_behind(launched: Launched, call: str) -> None:
    asked = ASKED if "Occupancy" in call else ASKED[:1]
    assert launched(failing=call) == [*asked, "cudaLaunchKernelExC", PLAIN, FINE]


def test_a_build_for_devices_without_clusters_is_launched_without_on_any(launched: Launched) -> None:
    assert launched(ptx=75) == [*ASKED[:1], "cudaLaunchKernelExC", PLAIN, FINE]


def test_a_launch_that_fails_is_told(launched: Launched) -> None:
    assert launched(failing="cudaLaunchKernelExC")[-1].startswith("launched: 801")
