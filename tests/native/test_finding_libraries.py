"""Which libraries that run networks are looked for, and what is said of those that cannot be used."""

import ctypes
import os
import subprocess

import pytest
from handle import ARGUMENT, MEMORY, NO_BACKEND, in_child, opened, options, said_on_opening

from edgeosr.errors import MissingDependencyError
from edgeosr.runtime.native import library
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
    monkeypatch.setenv("EDGEOSR_ONNXRUNTIME", "/nowhere/libonnxruntime.so.9")  # then it alone
    status, said = said_on_opening(native, bundle_path, options(backend_library=None))
    assert status == NO_BACKEND and "looked for /nowhere/libonnxruntime.so.9 (" in said
    assert "libonnxruntime.so.1 (" not in said and "libonnxruntime.so (" not in said


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


A_WHOLE_PATH = (
    " must be a whole path, or a name without a slash for the system to find; got ./mine.so: write the path "
    "from / on, which is the same file wherever the program runs"
)


@pytest.mark.parametrize(
    ("variable", "backend", "found"),
    [
        (library.ONNXRUNTIME_VARIABLE, b"onnxruntime", library.onnxruntime_library),
        (library.OPENVINO_VARIABLE, b"openvino", library.openvino_library),
        (library.LIBRARY_VARIABLE, None, library.load_library.__wrapped__),
    ],
)
def test_a_relative_path_in_a_variable_is_refused_for_it_is_another_file_after_a_chdir(
    native, built, bundle_path, tmp_path, monkeypatch, variable, backend, found
):
    place = {b"onnxruntime": onnxruntime_library(), b"openvino": library.openvino_library(), None: built}
    (tmp_path / "mine.so").symlink_to(place[backend])
    unnamed = options(backend=backend, backend_library=None)
    named = options(backend=backend, backend_library=b"/nowhere/mine.so")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, "./mine.so")
    with pytest.raises(MissingDependencyError) as refused:
        found()
    assert str(refused.value) == variable + A_WHOLE_PATH
    if backend is not None:
        assert said_on_opening(native, bundle_path, unnamed) == (NO_BACKEND, variable + A_WHOLE_PATH)
        # What the options name goes first, and the variable is not read.
        assert "looked for /nowhere/mine.so (" in said_on_opening(native, bundle_path, named)[1]


def test_a_relative_path_in_the_options_is_that_of_the_opening(native, bundle_path, tmp_path, monkeypatch):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder in (here, elsewhere):
        folder.mkdir()
    (here / "own_ort.so").symlink_to(onnxruntime_library())
    monkeypatch.chdir(here)
    with opened(native, bundle_path, backend_library=b"./own_ort.so") as handle:
        monkeypatch.chdir(elsewhere)
        handle.swap(bundle_path)
        assert handle.info()["backend_library"].startswith(f"{here}/./own_ort.so (onnxruntime ")
    status, said = said_on_opening(native, bundle_path, options(backend_library=b"./own_ort.so"))
    assert status == NO_BACKEND and f"{elsewhere}/./own_ort.so (" in said


def test_a_name_of_the_current_folder_in_a_variable_is_told_to_be_written_whole(
    native, bundle_path, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "libours.so").symlink_to(onnxruntime_library())
    unnamed = options(backend_library=None)
    monkeypatch.setenv(library.ONNXRUNTIME_VARIABLE, "libours.so")
    status, said = said_on_opening(native, bundle_path, unnamed)
    assert status == NO_BACKEND and "one in the current folder is named by its whole path; install" in said


WITH_LITTLE_ROOM = """
import ctypes, os, resource, sys
from handle import options, said_on_opening
from edgeosr.runtime.native.library import load_library

library = load_library(sys.argv[1])
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
chosen = options(backend=sys.argv[3].encode(), backend_library=sys.argv[4].encode())
resource.setrlimit(resource.RLIMIT_AS, (taken + (8 << 20), resource.RLIM_INFINITY))
print(*said_on_opening(library, sys.argv[2], chosen))
"""


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_library_that_memory_is_short_for_is_not_told_as_missing(built, bundle_path, tmp_path, backend):
    big = tmp_path / "libbig.so"
    compiled(big, f"char room[{64 << 20}];")
    (said,) = in_child(WITH_LITTLE_ROOM, built, bundle_path, backend, big)
    assert said.startswith(f"{MEMORY} there is not enough memory to load the library {big} (")
    assert "; give the process more memory" in said and "install" not in said


OPENVINO_WITH_LITTLE_ROOM = """
import ctypes, os, resource, sys
from handle import options, said_on_opening
from edgeosr.runtime.native.library import load_library, openvino_library

library, openvino = load_library(sys.argv[1]), openvino_library()
ctypes.CDLL(openvino)  # so that what lacks room is its plug-in for the processor
with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (taken + (24 << 20), resource.RLIM_INFINITY))
print(*said_on_opening(library, sys.argv[2], options(backend=b"openvino", backend_library=openvino.encode())))
"""


def test_a_plug_in_of_openvino_that_memory_is_short_for_is_told_so(built, typed_bundle):
    (said,) = in_child(OPENVINO_WITH_LITTLE_ROOM, built, typed_bundle().path)
    assert said.startswith(f"{MEMORY} OpenVINO ") and "failed to map segment" in said
    assert "; give the process more memory" in said


def test_an_empty_backend_library_is_refused_as_an_empty_backend_is(native, bundle_path):
    for name in ("backend", "backend_library"):
        status, said = said_on_opening(native, bundle_path, options(**{name: b""}))
        assert status == ARGUMENT and "; got " in said
    assert "set it to NULL for the usual names" in said
