"""Plans in a bundle: hashed, locked, and never half there."""

import dataclasses
import errno
import subprocess
import sys

import pytest

from edgeosr.bundle.directory import read_bundle, read_manifest
from edgeosr.bundle.engines import EngineRecord
from edgeosr.bundle.manifest import BACKBONE
from edgeosr.errors import BundleError, EngineError, StorageError, UsageError
from edgeosr.files import sha256_of
from edgeosr.runtime.engines import store
from edgeosr.runtime.engines.request import BuildRequest, numbers_of, plan_name
from edgeosr.runtime.engines.store import add_engine, engine_lock, read_engine

PLAN = b"a plan" * 100


def record_of(path, plan=PLAN, **changes):
    given = {
        "file": "orin_tensorrt-10.3.0_fp16.plan",
        "sha256": sha256_of(plan),
        "bytes": len(plan),
        "builder": "tensorrt",
        "version": "10.3.0",
        "device": "Orin",
        "targets": ("sm_87",),
        "precision": "fp16",
        "batch": (1, 1, 8),
        "frame": (480, 640),
        "backbone": read_manifest(path).files[BACKBONE].sha256,
        "created": "2026-11-23T00:00:00+00:00",
        "seconds": 12.5,
    }
    return EngineRecord(**{**given, **changes})


def test_an_added_engine_reads_back_and_the_bundle_stays_whole(bundle_path):
    record = record_of(bundle_path)
    with engine_lock(bundle_path):
        add_engine(bundle_path, record, PLAN)
    assert read_bundle(bundle_path).manifest.engines == (record,)
    assert read_engine(bundle_path, record) == PLAN


def test_one_of_the_same_name_is_replaced_others_stay(bundle_path):
    other = record_of(bundle_path, file="other.plan")
    again = record_of(bundle_path, b"newer", version="10.3.0")
    for record, plan in ((record_of(bundle_path), PLAN), (other, PLAN), (again, b"newer")):
        add_engine(bundle_path, record, plan)
    assert set(read_manifest(bundle_path).engines) == {other, again}
    assert read_engine(bundle_path, again) == b"newer"


def test_engines_of_an_earlier_backbone_go_when_a_new_one_comes(bundle_path):
    add_engine(bundle_path, record_of(bundle_path), PLAN)
    manifest = read_manifest(bundle_path)
    stale = dataclasses.replace(manifest.engines[0], file="stale.plan", backbone="0" * 64)
    (bundle_path / "engines/stale.plan").write_bytes(PLAN)
    changed = dataclasses.replace(manifest, engines=(*manifest.engines, stale))
    (bundle_path / "manifest.json").write_bytes(store.manifest_bytes(changed))
    add_engine(bundle_path, record_of(bundle_path, file="new.plan"), PLAN)
    names = {record.file for record in read_manifest(bundle_path).engines}
    assert names == {"orin_tensorrt-10.3.0_fp16.plan", "new.plan"}
    assert not (bundle_path / "engines/stale.plan").exists()


@pytest.mark.parametrize("content", [b"another plan" * 50, PLAN[:-1], PLAN[:-1] + b"X"])
def test_a_plan_exchanged_under_the_same_name_is_refused(bundle_path, content):
    record = record_of(bundle_path)
    add_engine(bundle_path, record, PLAN)
    (bundle_path / "engines" / record.file).write_bytes(content)
    with pytest.raises(BundleError, match=r"not the plan that was built.*edgeosr build"):
        read_engine(bundle_path, record)


def test_a_missing_plan_and_a_link_are_refused(bundle_path, tmp_path):
    record = record_of(bundle_path)
    add_engine(bundle_path, record, PLAN)
    path = bundle_path / "engines" / record.file
    path.unlink()
    with pytest.raises(BundleError, match="is missing, though the manifest names it"):
        read_engine(bundle_path, record)
    (tmp_path / "elsewhere").write_bytes(PLAN)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="no plain file"):
        read_engine(bundle_path, record)


def test_an_engine_of_a_bundle_exported_again_meanwhile_is_refused(bundle_path):
    before = (bundle_path / "manifest.json").read_bytes()
    with pytest.raises(EngineError, match="exported again while the engine was built"):
        add_engine(bundle_path, record_of(bundle_path, backbone="f" * 64), PLAN)
    assert (bundle_path / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_full_disk_leaves_the_old_bundle(bundle_path, monkeypatch, fails_at):
    add_engine(bundle_path, record_of(bundle_path), PLAN)
    old = read_manifest(bundle_path)
    writes = []
    real = store.write_bytes

    def write(path, data):
        writes.append(path)
        if len(writes) == fails_at:
            raise StorageError(f"cannot write {path}: {errno.ENOSPC}")
        real(path, data)

    monkeypatch.setattr(store, "write_bytes", write)
    with pytest.raises(StorageError):
        add_engine(bundle_path, record_of(bundle_path, b"new", file="new.plan"), b"new")
    bundle = read_bundle(bundle_path)
    assert bundle.manifest == old
    assert read_engine(bundle_path, old.engines[0]) == PLAN


HOLDER = """
import sys
from pathlib import Path
from edgeosr.runtime.engines.store import engine_lock
with engine_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_build_at_once_is_told_to_wait(bundle_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(bundle_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(EngineError, match="another process is building"), engine_lock(bundle_path):
            pass
    finally:
        process.communicate(timeout=30)
    with engine_lock(bundle_path):
        assert process.returncode == 0


def request(**changes):
    given = {"builder": "tensorrt", "targets": (), "batch": (1, 1, 8), "frame": (480, 640)}
    return BuildRequest(**{**given, **changes})


def test_a_plan_s_name_tells_gpu_version_precision_and_profile():
    name = plan_name(request(), version="10.3.0", device="Orin (nvgpu)", precision="fp16")
    assert name == "orin-nvgpu-_tensorrt-10.3.0_fp16_b1-1-8_480x640.plan"
    rtx = request(builder="tensorrt_rtx", targets=("sm_86", "sm_120"))
    name = plan_name(rtx, version="1.7.1", device="", precision="int8")
    assert name == "sm_86-sm_120_tensorrt_rtx-1.7.1_int8_b1-1-8_480x640.plan"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"builder": "tensorrt_rtx", "targets": ("sm_87",)}, "a Jetson: its engine is built on the device"),
        ({"builder": "tensorrt_rtx", "targets": ("sm_88",)}, "did you mean"),
        ({"builder": "tensorrt_rtx", "targets": ("sm_86", "sm_86")}, "twice"),
        ({"targets": ("sm_86",)}, "tensorrt builds for the GPU here"),
        ({"batch": (2, 1, 8)}, "in this order; got 2,1,8"),
        ({"batch": (1, 1, 2000)}, "from 1 to 1024"),
        ({"frame": (0, 640)}, "--frame must be"),
        ({"workspace": 0}, "--workspace must be"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        request(**changes)


def test_batches_may_be_given_short():
    assert (numbers_of((4,)), numbers_of((1, 8)), numbers_of((1, 2, 8))) == ((4, 4, 4), (1, 1, 8), (1, 2, 8))
    with pytest.raises(UsageError, match="one to three"):
        numbers_of((1, 2, 3, 4))


def test_without_file_locks_an_engine_is_added_and_a_warning_says_what_is_lost(
    bundle_path, monkeypatch, caplog
):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with engine_lock(bundle_path):
        add_engine(bundle_path, record_of(bundle_path), PLAN)
    assert len(read_manifest(bundle_path).engines) == 1
    assert "no file locks (fcntl): of two builds" in caplog.text


def test_importing_the_store_loads_no_file_locks():
    program = "import sys; sys.modules['fcntl'] = None; import edgeosr.runtime.engines.build_bundle"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
