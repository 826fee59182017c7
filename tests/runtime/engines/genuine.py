"""The API of genuine TensorRT versions, from NVIDIA's own bindings over stub libraries, and doubles of it.

The bindings' wheels lie where ``make`` puts them (``BINDINGS``). They need three libraries that are not on
PyPI; empty ones with the nine symbols they ask for are compiled here. Nothing can be built with that, but
every class, method, enum member and signature is NVIDIA's.
"""

import json
import os
import re
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

BINDINGS = Path(sys.prefix) / "share" / "tensorrt-bindings"
VERSIONS = ("10.3.0", "10.13.3.9", "11.4.0.106")
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getPluginRegistry",
    "getNvOnnxParserVersion",
    "initLibNvInferPlugins",
)
LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")


def make_stubs(folder: Path) -> None:
    """Compile the three libraries under the sonames of TensorRT 10 and 11."""
    source = folder / "stub.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS), encoding="utf-8")
    for major in (10, 11):
        for library in LIBRARIES:
            soname = f"lib{library}.so.{major}"
            subprocess.run(
                ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", source, "-o", folder / soname],
                check=True,
            )


@cache
def stub_folder(root: Path) -> Path:
    folder = root / "stubs"
    folder.mkdir()
    make_stubs(folder)
    return folder


def api_of(version: str, root: Path) -> dict[str, Any]:
    """Return the description of a version; ``root`` is a scratch folder."""
    (wheel,) = BINDINGS.glob(f"tensorrt_cu12_bindings-{version}-*.whl")
    unpacked = root / version
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(stub_folder(root)),
        "PYTHONPATH": str(unpacked),
        "PYTHONIOENCODING": "utf-8",
    }
    said = subprocess.run(
        [sys.executable, Path(__file__).with_name("describe_bindings.py"), "tensorrt_bindings"],
        env=environment,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def parameters(signature: str) -> list[tuple[str, bool]]:
    """Return (name, has a default) of a signature's parameters, self left out."""
    inside = signature[signature.index("(") + 1 : _closing(signature)]
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(inside):
        depth += letter in "([{<"
        depth -= letter in ")]}" or (letter == ">" and inside[position - 1] != "-")
        if letter == "," and depth == 0:
            parts.append(inside[start:position])
            start = position + 1
    parts.append(inside[start:])
    named = [part.strip() for part in parts[1:] if part.strip() not in ("*", "/")]
    return [(re.split(r"[:=]", part)[0].strip(), "=" in part) for part in named]


def _closing(signature: str) -> int:
    depth = 0
    for position, letter in enumerate(signature):
        depth += letter == "("
        depth -= letter == ")"
        if depth == 0:
            return position
    raise AssertionError(signature)


def fits(signature: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Say whether a call binds to a signature."""
    expected = parameters(signature)
    if signature.startswith("(self: object, *args"):
        return True
    if len(args) > len(expected):
        return False
    given = {name for name, _ in expected[: len(args)]}
    if given & set(kwargs) or set(kwargs) - {name for name, _ in expected}:
        return False
    return all(default or name in given or name in kwargs for name, default in expected)


class Double:
    """Stands for an object of a genuine class: it has its members and no others, called as it is called.

    Args:
        api: of the version.
        cls: name of the class.
        calls: every call is appended as (class, method, args, kwargs).
        answers: what methods return and attributes hold, by name.
    """

    def __init__(self, api: dict[str, Any], cls: str, calls: list[Any], **answers: Any) -> None:
        object.__setattr__(self, "_spec", (api["classes"][cls], cls, calls))
        for name in answers:
            assert name in api["classes"][cls], f"{cls} of {api['version']} has no {name}"
        object.__setattr__(self, "_answers", answers)

    def __getattr__(self, name: str) -> Any:
        members, cls, calls = object.__getattribute__(self, "_spec")
        answers = object.__getattribute__(self, "_answers")
        if name not in members:
            raise AttributeError(f"{cls} has no {name}")
        if not members[name]:
            return answers.get(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            assert any(fits(signature, args, kwargs) for signature in members[name]), (
                f"{cls}.{name} takes {members[name]}; got {args} {kwargs}"
            )
            calls.append((cls, name, args, kwargs))
            answer = answers.get(name)
            return answer(*args, **kwargs) if callable(answer) else answer

        return call

    def __setattr__(self, name: str, value: Any) -> None:
        members, cls, calls = object.__getattribute__(self, "_spec")
        if name not in members:
            raise AttributeError(f"{cls} has no {name}")
        calls.append((cls, f"{name}=", (value,), {}))
        object.__getattribute__(self, "_answers")[name] = value


def enum_of(api: dict[str, Any], cls: str) -> Any:
    """Return a namespace with an enum's members, each an int in the order of the names."""
    members = [name for name in api["classes"][cls] if name.isupper() or name[0].isupper()]
    return SimpleNamespace(**{name: number for number, name in enumerate(members)})
