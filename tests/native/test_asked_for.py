"""What is told where the C library is asked for, and where it is built."""

import subprocess
import sys

import pytest

from edgeosr.cli import app as application
from edgeosr.errors import MissingDependencyError
from edgeosr.runtime.native import build, library


@pytest.fixture
def run(monkeypatch, capsys):
    def called(*arguments):
        monkeypatch.setattr(sys, "argv", ["edgeosr", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            application.main()
        return int(end.value.code or 0), capsys.readouterr().out

    return called


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine without the library."""
    monkeypatch.delenv(library.LIBRARY_VARIABLE, raising=False)
    monkeypatch.setattr(library, "__file__", str(tmp_path / "library.py"))
    monkeypatch.setattr(library, "NAME", "libedgeosr-that-is-nowhere.so")
    library.load_library.cache_clear()
    yield
    library.load_library.cache_clear()


@pytest.mark.parametrize("asked", [["--native"], ["--backend", "native"]])
def test_verify_without_the_library_ends_with_the_command_that_builds_it(run, nowhere, bundle_path, asked):
    code, said = run("verify", bundle_path, *asked)
    assert code == 1 and "native was asked for and is not available" in said
    assert said.splitlines()[-1] == "Next: python -m edgeosr.runtime.native.build"


NONE_OF_OURS = 'int edgeosr_abi(void) { return 1; } const char *edgeosr_version(void) { return "0"; }'


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, r"cannot be loaded: .*; name the file of libedgeosr itself there, or unset the variable"),
        ("int one;", r"of this version, and .* is none: .*edgeosr_abi; name the file of libedgeosr itself"),
        (
            NONE_OF_OURS,
            r"of this version, and .* is none: .*edgeosr_open; name the file of libedgeosr itself",
        ),
        ("int edgeosr_abi(void) { return 7; }", r"of ABI 1; .* has 7; install both of one version, or name"),
    ],
)
def test_a_file_that_is_no_library_of_ours_is_told_with_what_to_do(monkeypatch, tmp_path, source, words):
    place = tmp_path / "wrong.so"
    if source is None:
        place.write_text("nothing")
    else:
        command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(place)]
        subprocess.run(command, input=source, text=True, check=True)
    monkeypatch.setenv(library.LIBRARY_VARIABLE, str(place))
    with pytest.raises(MissingDependencyError, match=words) as said:
        library.load_library.__wrapped__()
    assert f"{place} of {library.LIBRARY_VARIABLE} " in str(said.value)


def test_verify_whose_library_is_named_or_not_asked_for_does_not_tell_to_build_it(
    run, nowhere, bundle_path, monkeypatch
):
    assert "native.build" not in run("verify", bundle_path, "--backend", "onnxruntime")[1]
    monkeypatch.setenv(library.LIBRARY_VARIABLE, "/nowhere/libedgeosr.so")
    assert run("verify", bundle_path, "--native")[1].splitlines()[-1] == "Next: unset EDGEOSR_LIBRARY"


@pytest.mark.parametrize("named", ["/nowhere/libonnxruntime.so", "./libonnxruntime.so"])
def test_verify_with_a_variable_that_names_no_onnxruntime_tells_to_unset_it(
    run, nowhere, built, bundle_path, monkeypatch, named
):
    monkeypatch.setenv(library.LIBRARY_VARIABLE, str(built))
    monkeypatch.setenv(library.ONNXRUNTIME_VARIABLE, named)
    code, said = run("verify", bundle_path, "--native")
    assert code == 1 and named in said
    assert said.splitlines()[-1] == "Next: unset EDGEOSR_ONNXRUNTIME"


def test_verify_says_that_native_is_one_of_its_backends(run):
    code, said = run("verify", "--help")
    assert code == 0 and "native (libedgeosr)" in " ".join(said.replace("\u2502", " ").split())


def test_objects_lie_in_the_checkout_or_the_cache_and_the_help_says_where(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert build.kept_objects() == build.CHECKOUT / "build" / "native-objects"
    monkeypatch.setattr(sys, "argv", ["build", "--help"])
    with pytest.raises(SystemExit):
        build.main()
    said = capsys.readouterr().out.replace("\n", "").replace(" ", "")
    assert f"(default:{build.kept_objects()})" in said and f"(default:{build.LIBRARY})" in said
    monkeypatch.setattr(build, "CHECKOUT", tmp_path)
    monkeypatch.setenv("EDGEOSR_CACHE", str(tmp_path / "cache"))
    assert build.kept_objects() == tmp_path / "cache" / "native-objects"
