"""What the machine step refuses, what it only misses, and the clocks of the card that the driver uses."""

import argparse
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeosr.bench.gpu_rung import card, clocks, phase_table
from edgeosr.bench.gpu_rung.clocks import clocks_meanwhile, nvidia_smi, pci_id, summed_lines
from edgeosr.bench.gpu_rung.phase_table import require_phase_build
from edgeosr.bench.gpu_rung.step_report import NotRunHereError, StepReport
from edgeosr.errors import DeviceMemoryError
from edgeosr.kernels.build.ahead import Build
from edgeosr.kernels.build.phases import PHASES
from edgeosr.kernels.driver.driver import Device

H100 = Device(0, "H100", (9, 0), False, (13, 0))


class Driver:
    """Bindings that know no attribute's name; ``free`` GiB of memory."""

    def __init__(self, free: float = 8.0):
        self.cuda = SimpleNamespace(
            CUdevice_attribute=SimpleNamespace(), cuMemGetInfo=lambda: (0, int(free * 2**30), 80 << 30)
        )

    def device(self, ordinal: None) -> Device:
        return H100

    def require(self, code: int, name: str) -> None:
        assert code == 0

    def call(self, name: str, *arguments: Any) -> Any:
        if name == "cuDeviceGetPCIBusId":
            return b"0000:65:00.0\0\0\0"
        raise TypeError(f"{name} takes no None")


def looked_at(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> StepReport:
    monkeypatch.setattr(card, "open_driver", lambda purpose: driver)
    monkeypatch.setattr(card, "open_torch", lambda driver: None)
    report = StepReport(None)
    card.look_at_card(report, argparse.Namespace())
    return report


def broken(*_: Any) -> Any:
    raise AttributeError("module 'cuda' has no such thing")


def test_what_only_describes_the_machine_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("image_for", "device_source", "versions", "describe_device", "nvidia_smi"):
        monkeypatch.setattr(card, name, broken)
    figures = looked_at(monkeypatch, Driver()).figures
    assert figures["card"]["name"] == "H100" and figures["card"]["multiprocessors"] is None
    for name in ("build", "source", "versions", "host", "nvidia_smi"):
        assert figures[name] == {"not_told": "AttributeError: module 'cuda' has no such thing"}
    assert figures["python"]


def test_too_little_memory_is_refused_with_the_card_in_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceMemoryError, match=r"2\.0 GiB are free on H100"):
        looked_at(monkeypatch, Driver(free=2.0))


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An nvidia-smi that prints its words, then a row every ten milliseconds where it is told to go on."""
    program = tmp_path / "nvidia-smi"
    rows = "while :; do echo '1980, 2619, 300.5, 41'; echo 'a message, of, four, words'; sleep 0.01; done"
    script = f'#!/bin/sh\ncase "$*" in *loop-ms*) {rows};; *) echo "$*" | tr , ";";; esac\n'
    program.write_text(script, "utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(clocks.shutil, "which", lambda name: str(program))
    return program


def test_the_clocks_are_those_of_the_driver_s_own_card_while_it_works(smi: Path) -> None:
    bus = pci_id(Driver(), H100)  # type: ignore[arg-type]  # a double
    assert bus == "0000:65:00.0"
    with clocks_meanwhile(bus) as found:
        time.sleep(0.3)
        assert found == {}
    assert found["clocks.current.sm"] == [1980.0, 1980.0, 1980.0] and found["power.draw"][1] == 300.5
    assert found["samples"] > 1 and found["card"] == bus
    said = nvidia_smi(bus)["not_run"]  # one word, which is no row
    assert "--id=0000:65:00.0" in said and "--query-gpu=name;driver_version" in said


def test_clocks_that_cannot_be_had_are_told_and_fail_nothing(
    smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pci_id(SimpleNamespace(call=broken), H100) is None  # type: ignore[arg-type]  # a double
    with clocks_meanwhile(None) as found:
        pass
    assert found == nvidia_smi(None) == {"not_run": "the driver does not tell the card's PCI id"}
    smi.chmod(0o644)
    with clocks_meanwhile("0000:65:00.0") as found:
        pass
    assert "denied" in found["not_run"] and "denied" in nvidia_smi("0000:65:00.0")["not_run"]
    monkeypatch.setattr(clocks.shutil, "which", lambda name: None)
    with clocks_meanwhile("0000:65:00.0") as found:
        pass
    assert found == {"not_run": "nvidia-smi is not on the PATH"}
    of_a_part = summed_lines("1980, 2619, [N/A], 41\n1755, 2619, [N/A], 42\n[N/A], [N/A], [N/A], [N/A]\n")
    assert of_a_part["clocks.current.sm"] == [1755.0, 1867.5, 1980.0] and of_a_part["samples"] == 2
    assert "power.draw" not in of_a_part
    assert summed_lines("No devices were found\n") == {"not_run": "No devices were found"}
    assert summed_lines("") == {"not_run": "nvidia-smi said nothing in this time"}


@pytest.mark.parametrize(
    ("architecture", "driver", "words"),
    [
        ((9, 0), (12, 4), "sm_90, driver of CUDA 12.4.*that of sm_90 needs a driver of CUDA 13"),
        ((8, 0), (13, 0), "sm_80, .*runs there as PTX.*there are fused_score-sm_90-cuda13.0.cubin"),
        ((10, 0), (13, 0), "sm_100, .*runs there as PTX"),
    ],
)
def test_a_card_or_a_driver_without_a_phase_build_is_not_run_and_no_failure(
    tmp_path: Path, architecture: tuple[int, int], driver: tuple[int, int], words: str
) -> None:
    for stop in PHASES:
        (tmp_path / f"stop{stop}").mkdir()
        (tmp_path / f"stop{stop}" / Build((9, 0), (13, 0)).file_name).write_bytes(b"")
    require_phase_build(H100, tmp_path)
    with pytest.raises(NotRunHereError, match=words):
        require_phase_build(Device(0, "a card", architecture, False, driver), tmp_path)
    # An empty archive is a fault of the archive, and another error says so.
    require_phase_build(Device(0, "a card", architecture, False, driver), tmp_path / "none")
    assert phase_table.SHAPES[0].case(1, half=True).half_input
