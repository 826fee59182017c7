"""The digest that ``manifest.json`` holds of itself, so that an edit of any field is noticed.

It is of the file's bytes, with zeros in the digest's own place, and not of a canonical form: two languages
would have to spell every number alike. What writes the file anew by other means than ``manifest_with_digest``
edits it, though no value may change. The digest proves nothing of who wrote the file.
"""

import json
from typing import Any

from edgeosr.bundle.checked_json import JsonNode
from edgeosr.errors import BundleError
from edgeosr.files import sha256_of

DIGEST = "digest"
_BLANK = "0" * 64
_SHOWN = 12  # digits, as of the files


def manifest_with_digest(plain: dict[str, Any]) -> bytes:
    """Return plain values as UTF-8 JSON with their digest, last; ValueError for a NaN or an infinity."""
    values = {name: value for name, value in plain.items() if name != DIGEST}
    blank = json.dumps({**values, DIGEST: _BLANK}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    before, after = blank.rsplit(_BLANK, 1)
    return f"{before}{sha256_of(blank.encode('utf-8'))}{after}".encode()


def digest_within(data: bytes) -> dict[str, str]:
    """Return the digest of a manifest that was found good, by its name; empty where it has none."""
    plain = json.loads(data or b"{}")
    return {DIGEST: plain[DIGEST]} if DIGEST in plain else {}


def require_digest(data: bytes, node: JsonNode, document: str) -> None:
    """Hold a manifest against its digest.

    Args:
        data: the manifest's bytes.
        node: the field.
        document: what to call the manifest in messages.

    Raises:
        BundleError: it was edited after it was written, or is damaged.
    """
    digest = node.sha256()
    found = sha256_of(data.replace(digest.encode("ascii"), _BLANK.encode("ascii")))
    if digest != found:
        raise BundleError(
            f"{document} was edited after the export: its digest must be {found[:_SHOWN]}...; got "
            f"{digest[:_SHOWN]}...; export the bundle again, or copy it again"
        )
