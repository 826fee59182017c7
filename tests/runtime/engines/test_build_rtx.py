"""``edgeosr build --target`` for real: TensorRT-RTX builds engines with no GPU, in a process that may die."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from edgeosr.bundle.directory import read_bundle
from edgeosr.bundle.manifest import BODY_SCHEMA
from edgeosr.cli.app import app
from edgeosr.errors import BundleError, EngineError, UsageError
from edgeosr.runtime.engines.build_bundle import BuildOptions, build_bundle, request_for
from edgeosr.runtime.engines.isolated import build_isolated
from edgeosr.runtime.engines.request import BuildRequest
from edgeosr.runtime.engines.store import read_engine

RTX = BuildRequest(builder="tensorrt_rtx", targets=("sm_86",), batch=(1, 1, 2), frame=(20, 30))


def test_a_build_puts_a_pure_plan_into_the_bundle(bundle_path, monkeypatch):
    made = []

    def kept(*args, **kwargs):
        made.append(build_isolated(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr("edgeosr.runtime.engines.build_bundle.build_isolated", kept)
    options = BuildOptions(targets=("sm_86", "sm_120"), batch=(1, 1, 4), frame=(20, 30))
    record, manifest = build_bundle(bundle_path, options)
    assert manifest.engines == (record,) == read_bundle(bundle_path).manifest.engines
    assert (record.builder, record.precision, record.batch) == ("tensorrt_rtx", "fp16", (1, 1, 4))
    plan = read_engine(bundle_path, record)
    assert plan == made[0].plan and len(plan) > 10_000, "nothing of ours is in front of it"
    again, _ = build_bundle(bundle_path, options)
    assert read_bundle(bundle_path).manifest.engines == (again,), "the same build is replaced"
    assert read_engine(bundle_path, again) == made[1].plan


def test_the_command_says_what_it_wrote_and_what_comes_next(bundle_path):
    arguments = ["build", str(bundle_path), "--target", "sm_86", "--batch", "1,1,2", "--frame", "20x30"]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["engine"]["targets"] == ["sm_86"]
    text = CliRunner().invoke(app, arguments).stdout
    assert text.splitlines()[-1].startswith(f"Wrote {bundle_path}/engines/sm_86_tensorrt_rtx-")
    assert text.rstrip().endswith(f"Next: edgeosr verify {bundle_path}")


def test_without_a_gpu_an_engine_for_the_gpu_here_is_refused(bundle_path):
    with pytest.raises(EngineError, match=r"NVIDIA GPU here.*run this on the device; .*--target sm_86"):
        build_bundle(bundle_path, BuildOptions())
    assert read_bundle(bundle_path).manifest.engines == ()


def test_what_the_bundle_cannot_be_built_as_is_refused(bundle_path):
    import dataclasses

    manifest = read_bundle(bundle_path).manifest
    fixed = dataclasses.replace(manifest, frame=(480, 640))
    with pytest.raises(UsageError, match="frames of 480x640 only; got --frame 20x30"):
        request_for(fixed, BuildOptions(frame=(20, 30)))
    assert request_for(fixed, BuildOptions()).frame == (480, 640)
    plain = dataclasses.replace(manifest, backbone=None)
    with pytest.raises(EngineError, match=r"no typed backbone.*--engine fp16"):
        request_for(plain, BuildOptions())


def test_a_graph_that_the_parser_refuses_is_a_user_s_error():
    with pytest.raises(EngineError, match="TensorRT does not take the graph"):
        build_isolated(b"no onnx at all", RTX, outputs=("map",), dtype="float16")


def test_a_builder_that_dies_is_an_error_not_a_crash(tmp_path, monkeypatch):
    (tmp_path / "dying.py").write_text(
        "import os, sys\nprint('std::terminate', file=sys.stderr, flush=True)\nos.abort()\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EngineError, match=r"died by signal 6.*std::terminate"):
        build_isolated(b"", RTX, outputs=("map",), dtype="float16", module="dying")


def test_what_the_builder_logs_is_logged_here(tmp_path, monkeypatch, caplog):
    (tmp_path / "talking.py").write_text(
        "import pathlib, sys\n"
        "print('log\\t30\\ttactic skipped', flush=True)\n"
        "print('TensorRT itself may print', end='', flush=True)\n"
        """(pathlib.Path(sys.argv[1]) / 'answer.json').write_text('{"error": "no tactic"}')\n""",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EngineError, match=r"^no tactic$"):
        build_isolated(b"", RTX, outputs=("map",), dtype="float16", module="talking")
    assert [(each.levelname, each.message) for each in caplog.records] == [("WARNING", "tactic skipped")]


@pytest.mark.parametrize(
    ("visible", "device", "seen"), [(None, 1, "1"), ("GPU-a,GPU-b", 1, "GPU-b"), ("2", 0, "2")]
)
def test_the_builder_sees_the_gpu_it_builds_for_alone(tmp_path, monkeypatch, visible, device, seen):
    (tmp_path / "looking.py").write_text(
        "import json, os, pathlib, sys\n"
        "answer = json.dumps({'error': os.environ['CUDA_VISIBLE_DEVICES']})\n"
        "(pathlib.Path(sys.argv[1]) / 'answer.json').write_text(answer)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    request = BuildRequest(builder="tensorrt", targets=(), batch=(1, 1, 2), frame=(20, 30), device=device)
    with pytest.raises(EngineError, match=f"^{seen}$"):
        build_isolated(b"", request, outputs=("map",), dtype="float16", module="looking")


def test_whatever_the_bindings_raise_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "tensorrt_rtx.py").write_text(
        "__version__ = '1.7.0'\nclass ILogger:\n    pass\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        EngineError, match="tensorrt_rtx failed while it built the engine: AttributeError"
    ) as no:
        build_isolated(b"", RTX, outputs=("map",), dtype="float16")
    assert "Traceback" not in str(no.value)


def test_a_bundle_of_a_newer_edgeosr_is_left_alone(bundle_path):
    path = bundle_path / "manifest.json"
    document = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**document, "schema": BODY_SCHEMA + 1}), encoding="utf-8")
    with pytest.raises(BundleError, match="made after this state of edgeosr"):
        build_bundle(bundle_path, BuildOptions(targets=("sm_86",)))
    assert not (bundle_path / "engines").exists()


def test_ctrl_c_ends_the_builder_too_and_leaves_the_bundle(bundle_path, tmp_path):
    (tmp_path / "slow.py").write_text(
        "import os, pathlib, sys, time\n"
        "pathlib.Path(sys.argv[1], 'alive').write_text(str(os.getpid()))\n"
        "print('progress\\t1\\t9\\tTactics', flush=True)\ntime.sleep(900)\n",
        encoding="utf-8",
    )
    script = (
        # A shell's background job begins with Ctrl-C ignored.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import edgeosr.runtime.engines.build_bundle as b\n"
        "real = b.build_isolated\n"
        "b.build_isolated = lambda *a, **k: real(*a, **k, module='slow')\n"
        "from pathlib import Path\n"
        f"b.build_bundle(Path({str(bundle_path)!r}), b.BuildOptions(targets=('sm_86',), frame=(20, 30)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    alive = []
    while not alive and time.monotonic() < until:
        time.sleep(0.1)
        alive = [path for path in tmp_path.glob("edgeosr-build-*/alive") if path.read_text("utf-8")]
    assert alive, "the builder never started"
    child = int(alive[0].read_text("utf-8"))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert b"KeyboardInterrupt" in said
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert read_bundle(bundle_path).manifest.engines == ()
    assert list(tmp_path.glob("edgeosr-build-*")) == []
