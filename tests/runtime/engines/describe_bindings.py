"""Run in a process of its own: print what a genuine TensorRT bindings module holds, as JSON.

{"version": ..., "classes": {"Builder": {"create_network": ["(self: ..., flags: int = 0) -> ..."], ...}}}

An attribute that is no function has the list [] of signatures; enum members are such attributes.
"""

import importlib
import inspect
import json
import re
import sys


def signatures(name: str, doc: str) -> list[str]:
    """The signatures pybind11 writes at the head of a docstring, one for each overload."""
    found = []
    for line in doc.splitlines():
        match = re.match(rf"(?:\d+\. )?{re.escape(name)}(\(self.*\)(?: -> .*)?)$", line.strip())
        if match:
            found.append(match[1])
    return found


def described(cls: type) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for name in dir(cls):
        if name.startswith("_") and name != "__init__":
            continue
        member = inspect.getattr_static(cls, name)
        routine = not isinstance(member, property) and callable(getattr(cls, name))
        members[name] = signatures(name, getattr(cls, name).__doc__ or "") if routine else []
        if inspect.isclass(getattr(cls, name)):
            members.update({f"{name}.{inner}": [] for inner in dir(getattr(cls, name)) if inner[0] != "_"})
    return members


def main(module_name: str) -> None:
    module = importlib.import_module(module_name)
    classes = {name: described(value) for name, value in vars(module).items() if inspect.isclass(value)}
    print(json.dumps({"version": module.__version__, "classes": classes}))


main(sys.argv[1])
