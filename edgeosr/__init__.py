"""edgeosr: image classifiers for edge cameras that can say "I don't know".

    run = edgeosr.train_run(edgeosr.TrainSettings(data="photos/"))        one sub-folder a class
    bundle = edgeosr.export_run(run).path                                 or export_model, of an ONNX file
    report = edgeosr.evaluate_bundle(bundle)                              what it accepts and rejects
    with edgeosr.Runtime(bundle) as runtime:
        print(runtime(frame).label)                                       on the device, without torch

Importing this package loads nothing heavy: each name is loaded when it is first used, and torch, ONNX or
matplotlib when a function that needs it is called; a missing one is told with the line that installs it. The
command line is a translation of these functions.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeosr.bench.quality import evaluate_bundle
    from edgeosr.bench.quality_report import QualityReport
    from edgeosr.bench.quality_settings import QualitySettings
    from edgeosr.export.export_run import export_run
    from edgeosr.export.foreign.export_model import export_model
    from edgeosr.export.report import ExportReport
    from edgeosr.export.settings import ExportSettings
    from edgeosr.runtime.runtime import Runtime
    from edgeosr.training.settings import TrainSettings
    from edgeosr.training.train_run import resumed_settings, train_run
    from edgeosr.verdict import Verdict

__version__ = "0.1.0"
__all__ = [
    "EdgeosrError",
    "ExportReport",
    "ExportSettings",
    "QualityReport",
    "QualitySettings",
    "Runtime",
    "TrainSettings",
    "Verdict",
    "__version__",
    "evaluate_bundle",
    "export_model",
    "export_run",
    "resumed_settings",
    "train_run",
]

from edgeosr.errors import EdgeosrError

_HOME = {
    "ExportReport": "edgeosr.export.report",
    "ExportSettings": "edgeosr.export.settings",
    "QualityReport": "edgeosr.bench.quality_report",
    "QualitySettings": "edgeosr.bench.quality_settings",
    "Runtime": "edgeosr.runtime.runtime",
    "TrainSettings": "edgeosr.training.settings",
    "Verdict": "edgeosr.verdict",
    "evaluate_bundle": "edgeosr.bench.quality",
    "export_model": "edgeosr.export.foreign.export_model",
    "export_run": "edgeosr.export.export_run",
    "resumed_settings": "edgeosr.training.train_run",
    "train_run": "edgeosr.training.train_run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'edgeosr' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
