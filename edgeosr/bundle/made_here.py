"""Which bundles this user made on this machine, so that what a stranger's bundle names is not opened unasked.

A manifest says where its images lie. Whoever writes one can name any folder, or a file whose reading never
ends. A note of each manifest written here is kept under its SHA-256; where nothing can be noted, the user is
asked every time.
"""

from edgeosr.bundle.notes import Notes
from edgeosr.files import sha256_of

_NOTES = Notes("made-here")


def remember_made_here(manifest: bytes) -> None:
    """Note that this user wrote ``manifest``; errors are passed over, for a bundle is whole without."""
    _NOTES.remember(sha256_of(manifest))


def was_made_here(manifest: bytes) -> bool:
    """Tell whether this user wrote a manifest of these very bytes on this machine."""
    return _NOTES.has(sha256_of(manifest))
