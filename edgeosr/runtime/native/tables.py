"""The tables of the rules of reading, written as C++ from Python's own: one truth, two readers.

    python -m edgeosr.runtime.native.tables    # writes src/bundle/**/*.inc anew after a rule was changed

A test holds the files against what this makes.
"""

import unicodedata
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from edgeosr import preprocessing
from edgeosr.bundle import checked_json, engines, groups, left_out
from edgeosr.bundle.manifest import LARGEST_FILES
from edgeosr.bundle.onnx import operators, wire
from edgeosr.program.run import run_program
from edgeosr.runtime import golden
from edgeosr.scoring import npz, scorer_file
from edgeosr.scoring.limits import FILE_LIMITS
from edgeosr.scoring.parts import part, part_names
from edgeosr.scoring.scorer import ACTIVATIONS, HEADS
from edgeosr.scoring.scorer_checks import LARGEST_MARGIN
from edgeosr.verdict import UNKNOWN, reads_as_unknown

FOLDER = Path(__file__).parent / "src" / "bundle"
# What the tables of letters were made with: other versions of Unicode know other letters.
UNICODE = "// Unicode "
_KINDS = {
    "int": "kInt",
    "float": "kFloat",
    "bytes": "kBytes",
    "text": "kText",
    "ints": "kInts",
    "floats": "kFloats",
    "doubles": "kDoubles",
    "skip": "kSkip",
    "refused": "kRefused",
    "message": "kMessage",
}
_MADE = "// Made by edgeosr.runtime.native.tables; do not edit.\n"
_LARGEST_POINT = 0x110000


def tables() -> dict[str, str]:
    """Return the content of every file by its path below ``FOLDER``."""
    return {
        "onnx/wire_tables.inc": _wire_tables(),
        "onnx/field_numbers.inc": _field_numbers(),
        "onnx/operator_tables.inc": _operator_tables(),
        "limits.inc": _limits(),
        "unicode_tables.inc": _unicode_tables(),
    }


def _text(value: str) -> str:
    assert value.isascii() and value.isprintable() and not set('"\\') & set(value), value
    return f'"{value}"'


def _messages() -> dict[str, dict[int, wire.Field]]:
    """Return every table of ``wire.py`` by a name such as ``TensorType``, those inside others first."""
    named = {
        id(value): "".join(word.title() for word in name.strip("_").split("_"))
        for name, value in vars(wire).items()
        if isinstance(value, dict) and value and all(isinstance(each, wire.Field) for each in value.values())
    }
    found: dict[str, dict[int, wire.Field]] = {}

    def visit(table: dict[int, wire.Field]) -> None:
        for field in table.values():
            if field.message is not None:
                visit(field.message)
        found.setdefault(named[id(table)], table)

    visit(wire.MODEL)
    return found


def _wire_tables() -> str:
    messages = _messages()
    names = {id(table): name for name, table in messages.items()}
    lines = [
        _MADE.rstrip(),
        f"constexpr std::size_t kLongestText = {wire.LONGEST_TEXT}, kMostValues = {wire.MOST_VALUES};",
    ]
    for name, table in messages.items():
        lines.append(f"constexpr Field k{name}Fields[] = {{")
        for number, field in table.items():
            inside = "nullptr" if field.message is None else f"&k{names[id(field.message)]}Table"
            many = "true" if field.many else "false"
            lines.append(
                f"    {{{number}, Kind::{_KINDS[field.kind]}, {many}, {field.most}, {inside}, "
                f"{_text(field.name)}}},"
            )
        lines += ["};", f"constexpr Table k{name}Table = {{{_text(name)}, k{name}Fields, {len(table)}}};"]
    return "\n".join(lines) + "\n"


def _field_numbers() -> str:
    lines = [_MADE.rstrip(), "#pragma once", "", "#include <cstdint>", "", "namespace edgeosr::onnx {"]
    for name, table in _messages().items():
        lines += [
            f"constexpr std::uint32_t k{name}_{field.name} = {number};"
            for number, field in table.items()
            if field.kind not in ("skip", "refused") and field.name.isidentifier()
        ]
    return "\n".join([*lines, "}  // namespace edgeosr::onnx"]) + "\n"


def _words(words: Any) -> str:
    return _text(f" {' '.join(sorted(words))} ") if words else '""'


def _operator_tables() -> str:
    lines = [_MADE.rstrip(), "constexpr Operator kOperators[] = {"]
    for name, attributes in sorted(operators.OPERATORS.items()):
        left_out = sum(1 << place for place in operators.LEFT_OUT.get(name, ()))
        unnamed = "true" if name in operators.UNNAMED_OUTPUTS else "false"
        fewest = operators.LEAST_INPUTS.get(name, 1)
        lines.append(f"    {{{_text(name)}, {_words(attributes)}, {fewest}, {left_out}, {unnamed}}},")
    lines += ["};", "constexpr AttributeRule kAttributes[] = {"]
    for name, rule in sorted(operators.ATTRIBUTES.items()):
        least, most = (
            "INT64_MIN" if each == -(1 << 63) else "INT64_MAX" if each == (1 << 63) - 1 else str(each)
            for each in (rule.least, rule.most)
        )
        lines.append(f"    {{{_text(name)}, {rule.kind}, {least}, {most}, {_words(rule.words)}}},")
    return "\n".join([*lines, "};"]) + "\n"


def _limits() -> str:
    """Return every size that a bundle may have, and the names that are known, each stated once in Python."""
    wholes = {
        "LongestText": checked_json.LONGEST_TEXT,  # in code points
        "MostItems": checked_json.MOST_ITEMS,
        "LargestWhole": checked_json.LARGEST,
        "LargestSide": preprocessing.LARGEST_SIDE,
        "LongestSide": preprocessing.LONGEST_SIDE,
        "LargestFrame": preprocessing.LARGEST_FRAME,
        "LongestResized": preprocessing.LONGEST_RESIZED,
        "MostEngines": engines.MOST_ENGINES,
        "LargestPlan": engines.LARGEST_PLAN,
        "LargestBatch": engines.LARGEST_BATCH,
        "MostImages": groups.MOST_IMAGES,
        "MostFolds": left_out.MOST_FOLDS,
        "LongestName": npz.LONGEST_NAME,  # of an entry
        "MostEntries": npz.MOST_ENTRIES,
        "LongestEntryText": scorer_file.LONGEST_TEXT,
        "LeastFrames": golden.LEAST_FRAMES,
        "MostFrames": golden.MOST_FRAMES,
        "MostPixels": golden.MOST_PIXELS,
        **{f"Most{name.title()}": value for name, value in vars(FILE_LIMITS).items()},
    }
    lines = [_MADE.rstrip(), "#pragma once", "", "#include <cstdint>", "#include <string_view>", ""]
    lines.append("namespace edgeosr {")
    lines += [f"constexpr std::uint64_t k{name} = {value}u;" for name, value in wholes.items()]
    lines.append(f"constexpr double kLargestMargin = {LARGEST_MARGIN};")
    lines += ["struct FileLimit {", "    std::string_view name;", "    std::uint64_t bytes;", "};"]
    files = ", ".join(f"{{{_text(name)}, {most}u}}" for name, most in LARGEST_FILES.items())
    lines.append(f"inline constexpr FileLimit kFiles[] = {{{files}}};")
    stepping = tuple(name for name in part_names() if part(name).counts_masks)
    lists = (
        ("Parts", part_names()),
        ("SteppingParts", stepping),
        ("Activations", ACTIVATIONS),
        ("Heads", HEADS),
    )
    for name, words in lists:
        listed = ", ".join(map(_text, words))
        lines.append(f"inline constexpr std::string_view k{name}[] = {{{listed}}};")
    return "\n".join([*lines, "}  // namespace edgeosr"]) + "\n"


def _unicode_tables() -> str:
    lines = [_MADE.rstrip(), UNICODE + unicodedata.unidata_version, "constexpr Range kUnprintable[] = {"]
    lines += [f"    {{0x{first:x}, 0x{last:x}}}," for first, last in _unprintable()]
    lines += ["};", "constexpr Folded kFolded[] = {"]
    lines += [f"    {{0x{point:x}, {_text(text)}}}," for point, text in _folded()]
    return "\n".join([*lines, "};"]) + "\n"


def _unprintable() -> Iterator[tuple[int, int]]:
    points = (point for point in range(_LARGEST_POINT) if not chr(point).isprintable())
    for _, group in groupby(enumerate(points), key=lambda pair: pair[1] - pair[0]):
        run = [point for _, point in group]
        yield run[0], run[-1]


def _folded() -> Iterator[tuple[int, str]]:
    """Yield what becomes of a letter where a name is compared with "unknown", of those that may be in it.

    Normalisation puts letters together only where one of them is a mark, and a mark is in no such name.
    """
    assert reads_as_unknown(UNKNOWN.upper())
    for point in (*range(0x20000), *range(0xE0000, 0xE1000)):  # no other plane has a letter like ours
        normal = unicodedata.normalize("NFKC", chr(point))
        seen = "".join(letter for letter in normal if unicodedata.category(letter) != "Cf").casefold()
        plain = "".join(" " if letter.isspace() else letter for letter in seen)
        if set(plain) <= {*UNKNOWN, " "}:
            yield point, plain


def main() -> None:
    """Write them."""
    for name, content in tables().items():
        (FOLDER / name).write_text(content, "utf-8")


if __name__ == "__main__":
    run_program(main)
