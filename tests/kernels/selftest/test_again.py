"""The step ``again``: a launch that differs is found in its condition, and what is at fault is said."""

import argparse
import ctypes
from typing import Any

import numpy as np
import pytest
from cuda_double import CudaDouble, Launch

from edgeosr.bench.gpu_rung import again
from edgeosr.bench.gpu_rung.step_report import StepReport
from edgeosr.kernels.build.images import Image
from edgeosr.kernels.device_verdicts import VERDICT
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.selftest import cases

IMAGE = Image(b"\x7fELF", "the emulation")
CONDITIONS = [
    "in the self-test's order",
    "alone, in one room",
    "in a room of NaN",
    "in a room of infinity",
    "in new rooms",
    "with a cold L2",
    "behind a launch in clusters",
    "on every multiprocessor",
]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "_WIDTHS", (33, 16, 1))
    monkeypatch.setattr("edgeosr.kernels.fused_score.image_for", lambda device: IMAGE)


def found_on(cuda: CudaDouble, monkeypatch: pytest.MonkeyPatch) -> StepReport:
    monkeypatch.setattr(again, "open_driver", lambda: Driver(cuda))
    report = StepReport(None)
    again.repeat_case(report, argparse.Namespace(small=True, seconds=0.0))
    return report


def test_the_case_is_the_one_that_differed_and_each_condition_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    report = found_on(CudaDouble(architecture=(9, 0), driver=13000), monkeypatch)
    assert again.ORDER[again.AT].name == (
        "map leaky_relu Q64 taps 9, D1 B17 C6 cosine with a margin, 32-bit weights, 16-bit input"
    )
    found = report.figures["conditions"]
    assert report.failures == [] and list(found)[: len(CONDITIONS)] == CONDITIONS
    assert len(found) == len(CONDITIONS) + len(again.CHANGES)
    assert all(one["launches"] >= 2 and not one["differed"] for one in found.values())
    assert {"classes": 65} in again.CHANGES and "C65" in found["with classes 65"]["case"]


class Once(CudaDouble):
    """Changes one byte after one launch, or of one copy to the host."""

    def __init__(self, what: str, launch: int):
        super().__init__()
        self.what, self.launch, self.copies = what, launch, 0

    def _launched(self, launch: Launch) -> None:
        super()._launched(launch)
        if self.count("cuLaunchKernel") != self.launch:
            return
        if self.what != "copy":
            ctypes.c_uint8.from_address(launch.params.verdicts + 9).value ^= 1
        if self.what == "workspace":
            ctypes.c_uint8.from_address(launch.params.workspace + launch.params.partials_at).value ^= 1

    def _MemcpyDtoHAsync(self, into: int, address: int, size: int, stream: int) -> None:
        super()._MemcpyDtoHAsync(into, address, size, stream)
        if self.what == "copy" and self.count("cuLaunchKernel") == self.launch and not self.copies:
            self.copies = 1
            ctypes.c_uint8.from_address(into + 9).value ^= 1


# In the self-test's order there are three launches, in a condition one more than are compared.
@pytest.mark.parametrize("what", ["copy", "workspace", "verdict"])
def test_what_is_at_fault_in_a_launch_that_differs_is_told(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = found_on(Once(what, 6), monkeypatch)
    (words,) = report.failures
    assert words == f"alone, in one room: 1 of 2 launches differ; at fault: {what}"
    (told,) = report.figures["conditions"]["alone, in one room"]["told"]
    assert told["at_fault"] == what and set(told["fields"]) == {"score"} and told["launch"] == 2
    assert (told["workspace"]["words_that_differ"] > 0) == (what == "workspace")
    (raw,) = told["bytes"].values()
    first, this = (np.frombuffer(bytes.fromhex(raw[name]), VERDICT)["score"] for name in ("first", "this"))
    assert first != this and set(told["off_float64"]) == {"first", "this"}


class ReliesOnItsRoom(CudaDouble):
    """A launch whose score is another where infinity lies in its workspace."""

    def _launched(self, launch: Launch) -> None:
        before = ctypes.c_uint32.from_address(launch.params.workspace + launch.params.partials_at).value
        super()._launched(launch)
        if before == again.INFINITY:
            ctypes.c_uint8.from_address(launch.params.verdicts + 9).value ^= 1


def test_a_launch_that_relies_on_what_lies_in_its_room_differs_there_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (words,) = found_on(ReliesOnItsRoom(), monkeypatch).failures
    assert words == "in a room of infinity: 1 of 2 launches differ; at fault: verdict"


def test_verdicts_of_several_launches_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stale(CudaDouble):
        def _launched(self, launch: Launch) -> None:
            super()._launched(launch)
            if self.count("cuLaunchKernel") == 6:
                ctypes.c_uint8.from_address(launch.params.verdicts + 5).value += 1

    report = found_on(Stale(), monkeypatch)
    figures: dict[str, Any] = report.figures["conditions"]["alone, in one room"]
    assert figures["mixed_numbers"] == 1 and figures["differed"] == 0 and len(report.failures) == 1
