"""The end of ``edgeosr export --engine fp16``: an engine where one can be built, else what is left to do."""

import dataclasses
import json
import shutil
import sys

import pytest

from edgeosr.bundle.directory import read_bundle
from edgeosr.bundle.engines import EngineRecord
from edgeosr.cli import engine_step
from edgeosr.cli.app import main
from edgeosr.errors import EngineError, MissingDependencyError, UsageError
from edgeosr.runtime.engines.gpu import Gpu, GpuProbe

ORIN = Gpu(ordinal=0, name="Orin", architecture="sm_87", memory=8 << 30, integrated=True)


@pytest.fixture
def exported(report, tmp_path):
    """The report of an export whose bundle is this test's own."""
    path = shutil.copytree(report.path, tmp_path / "digits.edgeosr")
    return dataclasses.replace(report, path=path)


@pytest.fixture
def export(exported, monkeypatch, capsys):
    """``edgeosr export`` with the words given; the export itself was done by the fixture ``report``."""
    monkeypatch.setattr("edgeosr.export.export_run.export_run", lambda run, settings: exported)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["edgeosr", "export", str(exported.path), *words])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


def options(**given):
    return engine_step.options_from(
        given.pop("engine", "fp16"), given.pop("target", None), given.pop("batch", None), None, **given
    )


def test_without_a_gpu_it_says_in_one_line_what_the_device_has_to_do(export, exported):
    code, out, err = export("--engine", "fp16")
    assert (code, err) == (0, "")
    assert f"engine           is built on the device: edgeosr build {exported.path}\n" in out
    assert read_bundle(exported.path).manifest.engines == ()
    _, out, _ = export("--engine", "fp16", "--batch", "1,4")
    assert f"engine           is built on the device: edgeosr build {exported.path} --batch 1,1,4\n" in out


def test_a_target_is_built_at_once_and_is_in_the_bundle(export, exported):
    code, out, err = export("--engine", "fp16", "--target", "sm_86,sm_89", "--batch", "1,4")
    assert (code, err) == (0, "")
    (record,) = read_bundle(exported.path).manifest.engines
    assert (record.targets, record.batch) == (("sm_86", "sm_89"), (1, 1, 4))
    assert f"engine           {engine_step.described(record)}\n" in out
    assert "tensorrt_rtx" in out and "batch 1 to 4" in out and "is built on the device" not in out


def test_the_document_holds_the_engine(export, exported):
    code, out, err = export("--target", "sm_86", "--engine", "fp16", "--json")
    assert (code, err) == (0, "")
    (engine,) = json.loads(out)["manifest"]["engines"]
    assert engine["targets"] == ["sm_86"]
    assert (exported.path / "engines" / engine["file"]).stat().st_size == engine["bytes"]


def test_a_target_that_cannot_be_built_is_an_error(export, monkeypatch):
    def refused(*args, **kwargs):
        raise EngineError("no such tactic")

    monkeypatch.setattr(engine_step, "build_bundle", refused)
    code, out, err = export("--engine", "fp16", "--target", "sm_86")
    assert (code, out) == (1, "") and "no such tactic" in err and "Traceback" not in err


def test_a_build_that_fails_on_the_device_leaves_the_export_done(exported, monkeypatch):
    """The GPU here was a courtesy: the bundle is whole, and the reason is said."""
    probe = GpuProbe(gpus=(ORIN,), driver=(12, 6), reason="")
    monkeypatch.setattr(engine_step, "probe_gpus", lambda: probe)

    def refused(*args, **kwargs):
        raise EngineError("tensorrt is not installed")

    monkeypatch.setattr(engine_step, "build_bundle", refused)
    same, line = engine_step.with_engine(exported, options())
    assert same is exported
    assert f"edgeosr build {exported.path}" in line and "(not here: tensorrt is not installed)" in line


def test_where_there_is_a_gpu_its_engine_is_built(exported, monkeypatch):
    probe = GpuProbe(gpus=(ORIN,), driver=(12, 6), reason="")
    monkeypatch.setattr(engine_step, "probe_gpus", lambda: probe)
    record = EngineRecord(
        file="orin.plan",
        sha256="0" * 64,
        bytes=2_000_000,
        builder="tensorrt",
        version="10.3.0",
        device="Orin",
        targets=("sm_87",),
        precision="fp16",
        batch=(8, 8, 8),
        frame=(16, 16),
        backbone="1" * 64,
        created="2026-11-23T00:00:00+00:00",
        seconds=61.25,
    )
    asked = []

    def built(path, options):
        asked.append((path, options))
        return record, dataclasses.replace(exported.manifest, engines=(record,))

    monkeypatch.setattr(engine_step, "build_bundle", built)
    found, line = engine_step.with_engine(exported, options(batch="8"))
    assert found.manifest.engines == (record,)
    assert line.strip() == (
        "engine           tensorrt 10.3.0, fp16, for Orin; frames 16x16, batch 8 to 8; 2.0 MB, built "
        "in 61.2 s"
    )
    ((path, given),) = asked
    assert (path, given.targets, given.batch) == (exported.path, (), (8, 8, 8))


def test_a_bundle_without_a_backbone_has_no_such_line(exported):
    plain = dataclasses.replace(
        exported, manifest=dataclasses.replace(exported.manifest, backbone=None, engines=())
    )
    assert engine_step.with_engine(plain, options(engine="onnx")) == (plain, "")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"engine": "onnx", "target": "sm_86"}, "--target needs an engine; got --engine onnx"),
        ({"engine": "onnx", "target": "sm_86", "batch": "1"}, "--target and --batch need an engine"),
        ({"target": "sm_87"}, "a Jetson: its engine is built on the device by TensorRT"),
        ({"target": "sm_68"}, "--target must be of sm_75"),
        ({"batch": "8,4,2"}, "--batch must be LEAST,OPTIMAL,LARGEST"),
        ({"batch": "1,x"}, "--batch"),
    ],
)
def test_options_are_checked_before_minutes_of_exporting(given, said):
    with pytest.raises(UsageError, match=said):
        options(**given)


def test_a_missing_tensorrt_rtx_is_said_before_minutes_of_exporting(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgeosr\[rtx\]'"):
        options(target="sm_86")
    assert options().targets == ()
