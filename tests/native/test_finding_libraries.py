"""Which libraries that run networks are looked for, and what is said of those that cannot be used."""

import ctypes
import os
import subprocess

from handle import NO_BACKEND, in_child, opened, options, said_on_opening

from edgeosr.runtime.native.library import onnxruntime_library

OLD = """
struct base { const void *(*api)(unsigned); const char *(*version)(void); };
static int asked;
static const void *api(unsigned number) { asked = 1; return number > 17 ? 0 : &api; }
int was_asked(void) { return asked; }
static const char *version(void) { return "1.17.3"; }
static const struct base made = {api, version};
"""
ITS_ENTRY = "const struct base *OrtGetApiBase(void) { return &made; }"


def compiled(path, source):
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(path)]
    subprocess.run(command, input=source, text=True, check=True)


LOOKED_FOR = """
import sys
from handle import options, said_on_opening
from edgeosr.runtime.native.library import load_library

print(*said_on_opening(load_library(sys.argv[1]), sys.argv[2], options(backend_library=None)))
"""
OPENED = """
import sys
from handle import Handle, options
from edgeosr.runtime.native.library import load_library

print(Handle(load_library(sys.argv[1]), sys.argv[2], options(backend_library=None)).info()["backend_library"])
"""


def test_no_back_end_says_which_were_looked_for(native, built, bundle_path, monkeypatch):
    # In a process of its own: one that is loaded already is found by its name.
    (said,) = in_child(LOOKED_FOR, built, bundle_path, EDGEOSR_ONNXRUNTIME="")
    assert said.startswith(f"{NO_BACKEND} ") and "libonnxruntime.so.1 (" in said
    assert "; libonnxruntime.so (" in said and "name the file in EDGEOSR_ONNXRUNTIME" in said
    assert "onnxruntime/capi/libonnxruntime.so.VERSION" in said and "or set backend to openvino" in said
    monkeypatch.setenv("EDGEOSR_ONNXRUNTIME", onnxruntime_library())
    with opened(native, bundle_path, backend_library=None) as found:
        assert found.info()["backend"] == "onnxruntime"
    status, said = said_on_opening(
        native, bundle_path, options(backend_library=b"/nowhere/libonnxruntime.so")
    )
    assert status == NO_BACKEND and "/nowhere/libonnxruntime.so (" in said


def test_a_library_of_an_old_interface_or_of_none_is_told_apart(native, bundle_path, tmp_path):
    for name, more, words in (
        (
            "old",
            ITS_ENTRY,
            "is onnxruntime 1.17.3, which is too old",
        ),
        (
            "none",
            "const struct base *other(void) { return &made; }",
            "name libonnxruntime.so itself, or set backend to openvino or tensorrt",
        ),
    ):
        path = tmp_path / f"{name}.so"
        compiled(path, OLD + more)
        status, said = said_on_opening(native, bundle_path, options(backend_library=os.fsencode(path)))
        assert status == NO_BACKEND and words in said
        assert ctypes.CDLL(str(path)).was_asked() == 0  # else it would write a line to the terminal


def test_one_that_is_too_old_is_no_end_of_the_search(built, bundle_path, tmp_path):
    compiled(tmp_path / "libonnxruntime.so.1", OLD + ITS_ENTRY)
    found = {"EDGEOSR_ONNXRUNTIME": "", "LD_LIBRARY_PATH": str(tmp_path)}
    (said,) = in_child(LOOKED_FOR, built, bundle_path, **found)
    assert said.startswith(f"{NO_BACKEND} libonnxruntime.so.1 is onnxruntime 1.17.3, which is too old")
    (tmp_path / "libonnxruntime.so").symlink_to(onnxruntime_library())
    (said,) = in_child(OPENED, built, bundle_path, **found)
    assert said.startswith("libonnxruntime.so (onnxruntime ")


def test_a_library_of_the_current_folder_is_named_with_a_slash(native, bundle_path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "libmine.so").symlink_to(onnxruntime_library())
    status, said = said_on_opening(native, bundle_path, options(backend_library=b"libmine.so"))
    assert status == NO_BACKEND and "is named with a slash, ./libmine.so; install onnxruntime" in said
    with opened(native, bundle_path, backend_library=b"./libmine.so") as handle:
        assert handle.info()["why"] == "it runs everywhere"
    status, said = said_on_opening(native, bundle_path, options(backend_library=b"libnobodys.so"))
    assert status == NO_BACKEND and "with a slash" not in said
