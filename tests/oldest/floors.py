"""The lowest versions that pyproject.toml declares, as constraints for pip."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tomllib
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
OURS = "edgeosr"


def declared(extras: Iterable[str] = (), project: dict[str, Any] | None = None) -> list[str]:
    """Return the requirements of the base install and of ``extras``, with those of ours that they name."""
    if project is None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lines = list(project["dependencies"])
    waiting, seen = list(extras), set()
    while waiting:
        extra = waiting.pop()
        if extra in seen:
            continue
        seen.add(extra)
        for line in project["optional-dependencies"][extra]:
            requirement = Requirement(line)
            if requirement.name == OURS:
                waiting += requirement.extras
            else:
                lines.append(line)
    return lines


def floors_from_requirements(lines: Iterable[str], python: str) -> dict[str, str]:
    """Return the lowest version of each package that satisfies all ``lines`` on ``python`` ("3.11").

    Raises:
        ValueError: a line has no lower bound, so that nothing can be said to have been tried.
    """
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    found: dict[str, str] = {}
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate(environment):
            continue
        lowest = [part.version for part in requirement.specifier if part.operator in {">=", "==", "~="}]
        if not lowest:
            raise ValueError(
                f"{line!r} in pyproject.toml has no lowest version; write {requirement.name}>=..."
            )
        known = [found[requirement.name]] if requirement.name in found else []
        found[requirement.name] = max(lowest + known, key=Version)
    return found


def constraints(extras: Iterable[str], python: str) -> list[str]:
    """Return ``name==floor``, sorted."""
    floors = floors_from_requirements(declared(extras), python)
    return [f"{name}=={version}" for name, version in sorted(floors.items())]
