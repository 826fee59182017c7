"""A command whose options answer in edgeosr's words, and take several numbers however they are written.

The parser below typer, and what it says, differ from version to version. So the words of a command line are
read here first: a value that is no number, an option without its value, and numbers with commas or in
brackets, as they are copied out of other programs' code.
"""

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, get_args

from typer.core import TyperCommand

from edgeosr.errors import UsageError
from edgeosr.printed import brief

# What may stand between and around several numbers: 0.5,0.5,0.5  "0.5 0.5 0.5"  [0.5, 0.5, 0.5].
SEPARATORS = re.compile(r"[\s,;\[\](){}]+")


class Command(TyperCommand):
    """One subcommand; see the module."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words after the command's name."""
        return list(super().parse_args(ctx, understood(self, list(args))))


def understood(command: Any, words: list[str]) -> list[str]:
    """Return the words of a command line as the parser takes them, several numbers each as a word.

    Args:
        command: typer's, with its ``params`` and its ``callback``.
        words: what was typed after its name.

    Raises:
        UsageError: an option lacks its value, or the value is no number where one is needed, or out of range.
    """
    options = {name: one for one in command.params for name in (*one.opts, *one.secondary_opts)}
    options = {name: one for name, one in options.items() if name.startswith("-")}
    hints = inspect.signature(command.callback).parameters
    found: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            return [*found, word, *left]
        name, equals, value = word.partition("=")
        if (
            name not in options
            or getattr(options[name], "is_flag", False)
            or getattr(options[name], "count", 0)
        ):
            found.append(word)
            continue
        one = _Value(name, hints[options[name].name], f"see edgeosr {command.name} --help")
        given = [value, *left] if equals else left
        if options[name].nargs > 1:
            numbers, used = one.several(given, options[name].nargs)
            found += [name, *numbers]
            left = given[used:]
            continue
        if not given or (not equals and given[0] in options):
            raise UsageError(f"{name} needs a value behind it; got {_got(given[:1])}; {one.advice}")
        one.require(given[0])
        found += [word] if equals else [word, given[0]]
        left = given[1:]
    return found


class _Value:
    """What an option takes, by the annotation of the command's own function."""

    def __init__(self, name: str, parameter: inspect.Parameter, help_line: str) -> None:
        self.name = name
        kind, *more = get_args(parameter.annotation)
        self._kinds = get_args(kind) or (kind,)
        self._least, self._most = (
            next((value for one in more if (value := getattr(one, bound, None)) is not None), None)
            for bound in ("min", "max")
        )
        self._default = parameter.default
        self.advice = help_line
        if isinstance(self._default, int | float) and not isinstance(self._default, bool):
            self.advice = f"the default is {name} {self._default:g}"

    def require(self, text: str) -> None:
        """Refuse what is no number, if a number is needed."""
        if int in self._kinds:
            self._require_number(text, int, "a whole number")
        elif float in self._kinds:
            self._require_number(text, float, "a number")

    def _require_number(self, text: str, read: Callable[[str], float], what: str) -> None:
        number = _number(text, read)
        low = number is not None and self._least is not None and number < self._least
        high = number is not None and self._most is not None and number > self._most
        if number is not None and not low and not high:
            return
        bounds = ""
        if self._least is not None:
            bounds = (
                f" of at least {self._least}"
                if self._most is None
                else f" from {self._least} to {self._most}"
            )
        advice = self.advice
        if number is None and "," in text and _number(text.replace(",", "."), read) is not None:
            advice = f"numbers are written with a point: {self.name} {text.replace(',', '.')}"
        raise UsageError(f"{self.name} must be {what}{bounds}; got {brief(text)}; {advice}")

    def several(self, words: Sequence[str], count: int) -> tuple[list[str], int]:
        """Return ``count`` numbers, and how many of the words they were in."""
        numbers: list[str] = []
        used = 0
        for word in words:
            pieces = [piece for piece in SEPARATORS.split(word) if piece]
            if (len(numbers) == count and pieces) or any(_number(piece, float) is None for piece in pieces):
                break
            numbers += pieces
            used += 1
        if len(numbers) != count:
            shown = words[: used + (len(numbers) < count)]
            example = self._default if isinstance(self._default, tuple) else (0.5,) * count
            raise UsageError(
                f"{self.name} must be {count} numbers; got {_got(shown)}; write them with spaces or commas: "
                f"{self.name} {' '.join(f'{value:g}' for value in example)}"
            )
        return numbers, used


def _number(text: str, read: Callable[[str], float]) -> float | None:
    try:
        return read(text)
    except (ValueError, OverflowError):
        return None


def _got(words: Sequence[str]) -> str:
    return brief(" ".join(words)) if words else "nothing"
