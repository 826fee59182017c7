"""Names of classes that are one name: the same letters in another Unicode normal form.

An accented letter is one character or a letter with a mark behind it. Keyboards write the one, folders that
were copied from a Mac often hold the other, and nobody sees the difference.
"""

import unicodedata
from collections.abc import Iterable


def one_form(name: str) -> str:
    """Return ``name`` in the form in which equal letters are equal text (NFC)."""
    return unicodedata.normalize("NFC", name)


def as_spelled(name: str, names: Iterable[str]) -> str:
    """Return ``name`` as ``names`` spell it; itself where none or several of them are the same name."""
    names = tuple(names)
    if name in names:
        return name
    same = [other for other in names if one_form(other) == one_form(name)]
    return same[0] if len(same) == 1 else name
