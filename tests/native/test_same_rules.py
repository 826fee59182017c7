"""Every document that Python's tests of its readers make, and thousands that an enemy made, read by both."""

import ctypes
import io
import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from readers import Readers, require_same

from edgeosr.bench.reliability.spoil import spoilt
from edgeosr.bundle.directory import read_bundle, write_bundle
from edgeosr.bundle.scorer import bundle_scorer
from edgeosr.errors import BundleError, EdgeosrError
from edgeosr.files import sha256_of
from edgeosr.runtime.golden import read_golden, write_golden
from edgeosr.runtime.native import tables
from edgeosr.runtime.native.library import Options
from edgeosr.runtime.verify import verify_bundle
from edgeosr.verdict import reads_as_unknown

ROOT = Path(__file__).resolve().parents[2]
CORE = Path("core") / "bundle"
SHARED = (
    "../../runtime/test_golden.py",
    "test_manifest.py",
    "test_hostile_manifest.py",
    "test_class_thresholds.py",
    "test_body.py",
    "test_digest.py",
    "onnx/test_wire.py",
    "onnx/test_rules.py",
    "onnx/test_nodes.py",
    "onnx/test_constant_graphs.py",
    "onnx/test_division.py",
)
SPOILT = 140


def test_the_tests_of_pythons_readers_hold_for_the_librarys(built):
    # In a process of their own: the readers are exchanged before the tests import them.
    environment = {
        **os.environ,
        "EDGEOSR_TEST_READERS": str(built),
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "readers", "-p", "no:cacheprovider", "-x"]
    command += [str(Path("tests") / CORE / name) for name in SHARED]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    asked = re.search(r"libedgeosr read (\d+) documents", done.stdout)
    assert asked and int(asked[1]) > 600, done.stdout[-2000:]


@pytest.fixture(scope="module")
def readers(built):
    return Readers(built)


def test_a_reader_that_takes_what_python_refuses_is_noticed():
    with pytest.raises(AssertionError, match="Python refused what the library took"):
        require_same(BundleError("no"), 0, "", b"{}")
    with pytest.raises(AssertionError, match="Python took what the library refused"):
        require_same(None, 2, "no", b"{}")


@pytest.fixture(scope="module")
def good_files(make_bundle, manifest):
    path = make_bundle()
    return {each.name: each.read_bytes() for each in path.iterdir()}


def opened(native, path):
    """Return the status of opening with golden frames and without a back end: 4 is reached if all is read."""
    options = Options(struct_bytes=ctypes.sizeof(Options), backend_library=b"/nowhere/lib.so", verify=1)
    handle = ctypes.c_void_p()
    status = native.edgeosr_open(os.fsencode(path), ctypes.byref(options), ctypes.byref(handle))
    assert not handle
    return status, native.edgeosr_last_error().decode("utf-8", "replace")


@pytest.mark.parametrize(("kind", "count"), [("plain", SPOILT), ("with a body", SPOILT // 3)])
def test_damaged_and_hostile_bundles_are_taken_or_refused_alike(
    native, good_files, body_bundle, tmp_path, kind, count
):
    good = good_files if kind == "plain" else {
        each.name: each.read_bytes() for each in body_bundle().path.iterdir()
    }  # fmt: skip
    taken = 0
    for number in range(count):
        how, files = spoilt(good, number, seed=15)
        path = tmp_path / f"{number}.edgeosr"
        path.mkdir()
        for name, data in files.items():
            (path / name).write_bytes(data)
        error = None
        try:
            bundle = read_bundle(path)
            read_golden(bundle.files["golden.npz"], bundle.manifest)
            bundle_scorer(bundle)
        except EdgeosrError as found:
            error = found
        status, said = opened(native, path)
        assert status in (2, 4), (how, said)
        require_same(error, 0 if status == 4 else status, f"{number} {how}: {said}", b"")
        taken += status == 4
    assert 2 < taken < count // 2


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("body.onnx", None),
        ("body.onnx", lambda files: files["model.onnx"]),
        ("body.onnx", lambda files: files["body.onnx"].replace(b"pixels", b"pixelz")),
        ("golden.npz", lambda files: without(files["golden.npz"], "body_gap")),
        ("golden.npz", lambda files: without(files["golden.npz"], "body_rounding")),
        ("golden.npz", lambda files: without(files["golden.npz"], body_rounding=np.full(9, -1, np.float32))),
        ("golden.npz", lambda files: without(files["golden.npz"], body_score=np.zeros(64))),
    ],
)
def test_a_body_and_its_golden_verdicts_are_held_to_pythons_rules(
    native, body_bundle, tmp_path, file, change
):
    bundle = body_bundle()
    path = tmp_path / "changed.edgeosr"
    assert opened(native, bundle.path)[0] == 4
    shutil.copytree(bundle.path, path)
    if change is None:
        (path / file).unlink()
    else:
        data = change(bundle.files)
        (path / file).write_bytes(data)
        document = without_digest(path)
        document["files"][file] = {"sha256": sha256_of(data), "bytes": len(data)}
        (path / "manifest.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(BundleError, match=file):
        changed = read_bundle(path)
        read_golden(changed.files["golden.npz"], changed.manifest)
    status, said = opened(native, path)
    assert status == 2 and file in said


def test_names_of_classes_that_were_exchanged_are_found_by_both(native, make_bundle, tmp_path):
    bundle = read_bundle(make_bundle())
    golden = replace(
        read_golden(bundle.files["golden.npz"], bundle.manifest), classes=bundle.manifest.classes
    )
    path = tmp_path / "named.edgeosr"
    write_bundle(path, bundle.manifest, {**bundle.files, "golden.npz": write_golden(golden)})
    assert opened(native, path)[0] == 4  # it is read whole; no back end is named
    document = without_digest(path)
    for names in (document["classes"], document["data"]["known"]):
        names[:2] = names[1::-1]
    (path / "manifest.json").write_text(json.dumps(document), "utf-8")
    changed = read_bundle(path)
    with pytest.raises(BundleError, match="classes must be the digest"):
        read_golden(changed.files["golden.npz"], changed.manifest)
    status, said = opened(native, path)
    assert status == 2 and "golden.npz: classes must be the digest of the manifest's names" in said


def test_a_preprocessing_that_is_not_the_bodys_any_more_fails_both(native, body_bundle, tmp_path):
    """libedgeosr makes the front end of a body of the manifest; Python has it in ``model.onnx``."""
    bundle = body_bundle()
    golden = read_golden(bundle.files["golden.npz"], bundle.manifest)
    golden = replace(golden, preprocessing=bundle.manifest.preprocessing)
    path = tmp_path / "body.edgeosr"
    write_bundle(path, bundle.manifest, {**bundle.files, "golden.npz": write_golden(golden)})
    assert opened(native, path)[0] == 4 and verify_bundle(path, backends=["openvino"]).passed
    document = without_digest(path)
    document["preprocessing"]["mean"][0] += 0.25
    (path / "manifest.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(BundleError, match=r"golden\.npz: preprocessing must be the manifest's"):
        verify_bundle(path, backends=["openvino"])
    status, said = opened(native, path)
    assert status == 2 and f"{path}/golden.npz: preprocessing must be the manifest's, whose mean was" in said


CASES = (
    {"fit": "crop", "crop_fraction": 0.875},
    {"fit": "stretch"},
    {"fit": "letterbox"},
    {"color": "bgr"},
    {"fit": "crop", "resize_to": 37},
    {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.7)},
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_field_of_a_preprocessing_that_was_edited_is_named_by_both(native, make_bundle, tmp_path, case):
    bundle = read_bundle(make_bundle())
    made = replace(bundle.manifest.preprocessing, **{"crop_fraction": 1.0, **case})
    golden = replace(read_golden(bundle.files["golden.npz"], bundle.manifest), preprocessing=made)
    path = tmp_path / "a.edgeosr"
    manifest = replace(bundle.manifest, preprocessing=made)
    write_bundle(path, manifest, {**bundle.files, "golden.npz": write_golden(golden)})
    assert opened(native, path)[0] == 4  # it is read whole; no back end is named
    document = without_digest(path)
    now = document["preprocessing"]
    edits = {
        "height": {"height": now["height"] + 1},
        "width": {"width": now["width"] + 1},
        "color": {"color": "rgb" if now["color"] == "bgr" else "bgr"},
        "mean": {"mean": [*now["mean"][:2], now["mean"][2] + 0.01]},
        "std": {"std": [now["std"][0], now["std"][1] * 1.01, now["std"][2]]},
        "height, mean": {"height": now["height"] + 1, "mean": [0.5, 0.25, 0.125]},
    }
    if now["fit"] == "crop" and "resize_to" not in now:
        edits["crop_fraction"] = {"crop_fraction": 0.77}
    if now["fit"] != "letterbox" and "resize_to" not in now:
        fit = {"fit": "letterbox", "crop_fraction": 1.0}
        edits["fit, crop_fraction" if now["crop_fraction"] != 1 else "fit"] = fit
    if "resize_to" in now:
        edits["resize_to"] = {"resize_to": 38}
    for fields, edit in edits.items():
        (path / "manifest.json").write_text(json.dumps({**document, "preprocessing": {**now, **edit}}))
        changed = read_bundle(path)
        words = (
            f"golden.npz: preprocessing must be the manifest's, whose {fields} was edited after the export"
        )
        with pytest.raises(BundleError, match=words):
            read_golden(changed.files["golden.npz"], changed.manifest)
        status, said = opened(native, path)
        assert status == 2 and words in said


def test_an_entry_of_a_newer_edgeosr_is_told_alike(native, make_bundle, tmp_path):
    bundle = read_bundle(make_bundle())
    path = tmp_path / "newer.edgeosr"
    more = without(bundle.files["golden.npz"], lighting=np.zeros(3, np.float32))
    write_bundle(path, bundle.manifest, {**bundle.files, "golden.npz": more})
    words = (
        f"{path}/golden.npz has an entry that edgeosr does not know, 'lighting', made by a newer edgeosr: "
        "install it, or export the bundle again with this one"
    )
    with pytest.raises(BundleError) as said:
        verify_bundle(path)
    assert (str(said.value), (2, words)) == (words, opened(native, path))


def without(data, *names, **changes):
    """Return an .npz without some arrays, or with others in their place."""
    with np.load(io.BytesIO(data)) as arrays:
        kept = {name: arrays[name] for name in arrays.files if name not in names}
    room = io.BytesIO()
    np.savez(room, **{**kept, **changes})
    return room.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: {**document, "classes": 5},
        lambda document: {**document, "more": 1},
        lambda document: {key: value for key, value in document.items() if key != "files"},
        lambda document: b"{",
        lambda document: b"\xff",
    ],
)
def test_whatever_is_wrong_with_a_manifest_both_say_what_to_do(native, good_files, tmp_path, damage):
    path = tmp_path / "damaged.edgeosr"
    path.mkdir()
    for name, data in good_files.items():
        (path / name).write_bytes(data)
    damaged = damage(json.loads(good_files["manifest.json"]))
    data = damaged if isinstance(damaged, bytes) else json.dumps(damaged).encode()
    (path / "manifest.json").write_bytes(data)
    with pytest.raises(BundleError, match=r"; export the bundle again, or copy it again$"):
        read_bundle(path)
    status, said = opened(native, path)
    assert status == 2 and said.startswith(f"{path}/manifest.json")
    assert said.endswith("; export the bundle again, or copy it again") and said.count("again") == 2


def without_digest(path):
    """Return the plain values of a manifest as a bundle of before 2026-11-27 has them."""
    document = json.loads((path / "manifest.json").read_bytes())
    del document["digest"]
    return document


@pytest.mark.parametrize("file", ["golden.npz", "scorer.npz"])
def test_what_is_wrong_with_a_file_names_the_bundle_in_both(native, make_bundle, tmp_path, file):
    bundle = read_bundle(make_bundle())
    path = tmp_path / "damaged.edgeosr"
    write_bundle(path, bundle.manifest, {**bundle.files, file: b"PK"})
    with pytest.raises(BundleError, match=rf"^{path}/{file} "):
        verify_bundle(path)
    status, said = opened(native, path)
    assert status == 2 and said.startswith(f"{path}/{file} cannot be read: ")


def test_links_pipes_and_folders_are_no_files_of_a_bundle(native, good_files, tmp_path):
    for number, make in enumerate(
        (
            lambda path: path.symlink_to(tmp_path / "elsewhere"),
            lambda path: os.mkfifo(path),
            lambda path: path.mkdir(),
            lambda path: None,
        )
    ):
        folder = tmp_path / f"{number}.edgeosr"
        folder.mkdir()
        (tmp_path / "elsewhere").write_bytes(good_files["model.onnx"])
        for name, data in good_files.items():
            if name != "model.onnx":
                (folder / name).write_bytes(data)
        make(folder / "model.onnx")
        with pytest.raises(BundleError):
            read_bundle(folder)
        status, said = opened(native, folder)
        assert status == 2 and "model.onnx" in said


def test_the_tables_are_those_of_pythons_rules():
    for name, content in tables.tables().items():
        written = (tables.FOLDER / name).read_text("utf-8")
        if tables.UNICODE + unicodedata.unidata_version in written or tables.UNICODE not in written:
            assert written == content, f"run: python -m edgeosr.runtime.native.tables ({name})"


def test_letters_are_told_apart_as_python_tells_them(readers):
    library = readers._library
    made_with = (tables.FOLDER / "unicode_tables.inc").read_text("utf-8").splitlines()[1]
    newest = made_with == tables.UNICODE + unicodedata.unidata_version
    for point in (*range(0x3000), 0xFE00, 0x1F408, 0xE0001, 0x10FFFF):
        if newest or unicodedata.category(chr(point)) != "Cn":
            assert library.edgeosr_test_is_printable(point) == chr(point).isprintable(), hex(point)
    names = [
        "unknown",
        "UNKNOWN",
        " Unknown\u3000",
        "\uff55\uff4e\uff4b\uff4e\uff4f\uff57\uff4e",
        "un\u200bknown",
        "un known",
        "unknowns",
        "u",
        "",
    ]
    names += ["\u212anown", "un\u212anown", "unknown\u0301", "ünknown", "un\u00adknown", "ᵤnknown", "unⓚnown"]
    for name in names:
        assert library.edgeosr_test_reads_as_unknown(name.encode()) == reads_as_unknown(name), name


@pytest.mark.parametrize("size", [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 100_001])
def test_digests_are_sha256_with_the_processors_instructions_and_without(readers, size):
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    for portable in (0, 1):
        room = ctypes.create_string_buffer(65)
        readers._library.edgeosr_test_sha256(data, ctypes.c_size_t(size), portable, room)
        assert room.value.decode() == sha256_of(data)
