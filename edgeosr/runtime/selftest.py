"""``edgeosr selftest``: what can be proved on this machine, step by step; a failed step does not end it.

Without a device: the bundle on the CPU. With ``device``: the fused kernel against its reference, an engine
built from the bundle, and the golden frames through it.
"""

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeosr import __version__
from edgeosr.bundle.directory import read_bundle
from edgeosr.bundle.engines import BUILDERS
from edgeosr.errors import EdgeosrError, EngineError
from edgeosr.kernels.selftest.selftest import SelftestSettings, run_selftest
from edgeosr.printed import json_text
from edgeosr.runtime.engines.gpu import GpuProbe, probe_gpus
from edgeosr.runtime.engines.preflight import installed_version
from edgeosr.runtime.runtime import Runtime
from edgeosr.runtime.verify import verify_bundle


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: ``name``, whether it ``passed``, and what it found or why it failed (``detail``)."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, kw_only=True)
class SelftestReport:
    """All steps.

    Attributes:
        machine: what this machine is, by name.
        steps: in order.
        left: what this run could not prove, a sentence each.
    """

    machine: dict[str, str]
    steps: tuple[Step, ...]
    left: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Every step passed."""
        return all(step.passed for step in self.steps)

    def as_text(self) -> str:
        """Return it for a terminal."""
        lines = [f"{name:14}{value}" for name, value in self.machine.items()]
        lines += [f"{step.name:14}{'ok' if step.passed else 'FAILED'}  {step.detail}" for step in self.steps]
        lines += [f"not proved    {sentence}" for sentence in self.left]
        return "\n".join([*lines, "passed" if self.passed else "FAILED"])

    def as_json(self) -> str:
        """Return one JSON document."""
        plain = {
            "kind": "selftest",
            "passed": self.passed,
            "machine": self.machine,
            "steps": [asdict(step) for step in self.steps],
            "not_proved": list(self.left),
        }
        return json_text(plain, indent=1)


def selftest(
    bundle: Path,
    *,
    device: bool,
    settings: SelftestSettings | None = None,
    threads: int | None = None,
    probe: Callable[[], GpuProbe] = probe_gpus,
) -> SelftestReport:
    """Run it.

    Args:
        bundle: path of the bundle.
        device: prove the GPU's part too; an engine is built into the bundle if it has none for this GPU.
        settings: of the kernel's test.
        threads: of onnxruntime; None for one a physical core.
        probe: asks the driver.

    Raises:
        EngineError: ``device``, and there is no GPU.
        BundleError: there is no bundle, or it is damaged.
    """
    gpus = probe()
    if device and not gpus.gpus:
        raise EngineError(
            f"edgeosr selftest --device needs an NVIDIA GPU: {gpus.reason}; run it on the device, or without "
            "--device for what can be checked here"
        )
    read_bundle(bundle)  # a wrong path or a damaged bundle is no step that failed
    machine = _machine(gpus)
    if not device:
        steps = [_step("cpu", lambda: _verified(bundle, ("onnxruntime",), threads))]
        left = (
            "that the fused kernel and an engine decide the same: edgeosr selftest --device, on the device",
        )
        return SelftestReport(machine=machine, steps=tuple(steps), left=left)
    steps = [
        _step("kernel", lambda: _kernel(settings or SelftestSettings())),
        _step("engine", lambda: _engine(bundle)),
        _step("verify", lambda: _verified(bundle, (), threads)),
    ]
    return SelftestReport(machine=machine, steps=tuple(steps), left=())


class _Failed(EdgeosrError):
    """A step ran and found a fault."""


def _step(name: str, run: Callable[[], str]) -> Step:
    try:
        return Step(name=name, passed=True, detail=run())
    except EdgeosrError as error:
        return Step(name=name, passed=False, detail=str(error))


def _machine(probe: GpuProbe) -> dict[str, str]:
    gpus = ", ".join(f"{gpu.name} ({gpu.architecture}, {gpu.memory >> 20} MiB)" for gpu in probe.gpus)
    found = {
        "edgeosr": __version__,
        "python": f"{platform.python_version()}, {platform.system()} {platform.machine()}",
        "gpu": gpus or f"none: {probe.reason}",
    }
    if probe.gpus:
        found["driver"] = f"CUDA {probe.driver[0]}.{probe.driver[1]}"
    for name in ("onnxruntime", *BUILDERS):
        found[name] = installed_version(name) or "not installed"
    return found


def _kernel(settings: SelftestSettings) -> str:
    report = run_selftest(settings)
    cases = report["cases"]
    text = f"{len(cases)} cases, {report['samples']} samples against the float64 reference; {report['build']}"
    if not report["passed"]:
        wrong = [case["case"] for case in cases if not case["passed"]] or ["too many ties"]
        raise _Failed(f"{text}; wrong: {'; '.join(wrong[:3])}; run: python -m edgeosr.kernels.selftest")
    return text


def _engine(bundle: Path) -> str:
    reasons = []
    for name in BUILDERS:
        try:
            with Runtime(bundle, backend=name, build="auto") as runtime:
                return f"{name} runs {', '.join(runtime.providers)}"
        except EdgeosrError as error:
            reasons.append(f"{name}: {error}")
    raise _Failed("; ".join(reasons))


def _verified(bundle: Path, backends: tuple[str, ...], threads: int | None) -> str:
    report = verify_bundle(bundle, backends=backends, threads=threads)
    if not backends and not any(check.passed for check in report.checks if check.backend in BUILDERS):
        raise _Failed("no engine gave the expected verdicts:\n" + report.as_text())
    if not report.passed:
        raise _Failed(report.as_text())
    return "; ".join(check.described() for check in report.checks if check.available)
