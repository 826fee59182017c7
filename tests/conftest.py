"""Fixtures that several rooms share: one small run, and the bundle made of it."""

import functools
import importlib.util
import sys
from dataclasses import dataclass

import pytest

from edgeosr import ExportSettings, TrainSettings, export_run, train_run
from edgeosr.training import opengan_settings

OUTLIER = "digits:0"

# The runs of the lowest versions have no property tests, and no Hypothesis.
if importlib.util.find_spec("hypothesis") is not None:
    import hypothesis

    # The same examples every time: a suite that fails now and then is not believed. make fuzz looks for more.
    hypothesis.settings.register_profile("suite", database=None, derandomize=True, deadline=None)
    hypothesis.settings.load_profile("suite")


@dataclass(frozen=True, kw_only=True)
class ShortOpenGan(opengan_settings.OpenGanSettings):
    """A tenth of the discriminator's training is enough for digits."""

    epochs: int = 5
    steps: int = 30


def pytest_runtest_setup():
    """Let torch's exporter gather its operators once: it only reads them, and takes half a second each time.

    Torch is not imported for it; where it is another version that has no such table, nothing is changed.
    """

    module = sys.modules.get("torch.onnx._internal.exporter._registration")
    table = getattr(module, "ONNXRegistry", None)
    gather = getattr(table, "from_torchlib", None)
    if gather is not None and not hasattr(gather, "cache_info"):
        table.from_torchlib = staticmethod(functools.cache(gather))


def pytest_terminal_summary(terminalreporter):
    """List what was not run because it needs a card: a skip that nobody sees looks like a pass."""
    skipped = terminalreporter.stats.get("skipped", ())
    not_run = [report.nodeid for report in skipped if "/gpu/" in report.nodeid]
    if not_run:
        terminalreporter.section("not run: these need a card (make gpu); make gpu-dry runs them without one")
        for name in not_run:
            terminalreporter.write_line(name)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """A run on six digits in seconds; the digit 0 serves as real outliers, 1, 6 and 7 stay unknown."""

    settings = TrainSettings(
        data="digits",
        split=0,
        input_size=16,
        batch_size=16,
        epochs=5,
        rotation_weight=0.0,
        outliers=OUTLIER,
        folds=0,
        # On a busy machine two threads are ten times slower than one.
        threads=1,
        out=tmp_path_factory.mktemp("runs") / "digits-run",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opengan_settings, "OpenGanSettings", ShortOpenGan)
        return train_run(settings)


@pytest.fixture(scope="session")
def digits_bundle(digits_run, tmp_path_factory):
    """The bundle of ``digits_run``, exported with all defaults."""
    out = tmp_path_factory.mktemp("bundles") / "digits.edgeosr"
    return export_run(digits_run, ExportSettings(out=out)).path
