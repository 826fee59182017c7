"""Fixtures that several rooms share: one small run, and the bundle made of it."""

import functools

import pytest

from edgeosr import ExportSettings, TrainSettings, export_run, train_run

OUTLIER = "digits:0"


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """A run on six digits in seconds; the digit 0 serves as real outliers, 1, 6 and 7 stay unknown."""
    from edgeosr.training import opengan

    settings = TrainSettings(
        data="digits",
        split=0,
        input_size=16,
        batch_size=16,
        epochs=5,
        rotation_weight=0.0,
        outliers=OUTLIER,
        threads=2,
        out=tmp_path_factory.mktemp("runs") / "digits-run",
    )
    with pytest.MonkeyPatch.context() as patch:
        # A third of the discriminator's training is enough for digits.
        patch.setattr(opengan, "OpenGanSettings", functools.partial(opengan.OpenGanSettings, epochs=10))
        return train_run(settings)


@pytest.fixture(scope="session")
def digits_bundle(digits_run, tmp_path_factory):
    """The bundle of ``digits_run``, exported with all defaults."""
    out = tmp_path_factory.mktemp("bundles") / "digits.edgeosr"
    return export_run(digits_run, ExportSettings(out=out)).path
