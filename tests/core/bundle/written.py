"""A manifest as it is written, for the tests that change one value of it at a time."""

import json
from typing import Any

from edgeosr.bundle.digest import DIGEST
from edgeosr.bundle.manifest import Manifest, manifest_bytes


def written(manifest: Manifest) -> dict[str, Any]:
    """Return the plain values of what is written of a manifest, which has a digest; without that one."""
    plain: dict[str, Any] = json.loads(manifest_bytes(manifest))
    assert len(plain.pop(DIGEST)) == 64
    return plain
