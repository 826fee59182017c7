"""Words of a command line before the parser sees them: several numbers, and values that are none."""

from typing import Any

import pytest
import typer
from typer.main import get_command

from edgeosr.cli.app import app
from edgeosr.cli.command import understood
from edgeosr.errors import UsageError

COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]  # it is a group
MEAN = ["--mean", "0.485", "0.456", "0.406"]


def read(command: str, *words: str) -> list[str]:
    return understood(COMMANDS[command], list(words))


@pytest.mark.parametrize(
    "words",
    [
        ["0.485", "0.456", "0.406"],
        ["0.485,0.456,0.406"],
        ["[0.485, 0.456, 0.406]"],
        ["(0.485,0.456,0.406,)"],
        ["[0.485,", "0.456,", "0.406]"],
        ["[", "0.485", "0.456", "0.406", "]"],
        ["0.485;0.456", "0.406"],
        ["{0.485 0.456 0.406}"],
    ],
)
def test_several_numbers_may_be_written_as_other_programs_write_them(words: list[str]) -> None:
    assert read("export", "m.onnx", "--mean", *words, "--json") == ["m.onnx", *MEAN, "--json"]
    assert read("export", f"--mean={words[0]}", *words[1:], "m.onnx") == [*MEAN, "m.onnx"]


def test_negative_numbers_and_what_stands_behind_two_dashes_are_left_alone() -> None:
    assert read("export", "--mean", "-1,-1,-1e-3") == ["--mean", "-1", "-1", "-1e-3"]
    assert read("train", "--seed", "-1", "--", "--folds", "x") == ["--seed", "-1", "--", "--folds", "x"]
    assert read("predict", "b", "0", "--threshold=-0.5") == ["b", "0", "--threshold=-0.5"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("export --mean 0.5", "--mean must be 3 numbers; got '0.5'; write them with spaces or commas"),
        ("export --mean 0,485 0,456 0,406", "--mean must be 3 numbers; got '0,485 0,456 0,406'"),
        ("export --mean grey --json", "--mean must be 3 numbers; got 'grey'"),
        ("export --std", "--std must be 3 numbers; got nothing"),
        ("train --fractions 0.8,0.2", "write them with spaces or commas: --fractions 0.8 0.1 0.1"),
        ("train --folds x", "--folds must be a whole number; got 'x'; see edgeosr train --help"),
        ("train --folds 2.5", "--folds must be a whole number; got '2.5'; see edgeosr train --help"),
        ("train --folds 1e3", "--folds must be a whole number; got '1e3'; see edgeosr train --help"),
        ("train --folds 2,5", "--folds must be a whole number; got '2,5'; see edgeosr train --help"),
        ("train --lr 0,01", "--lr must be a number; got '0,01'; numbers are written with a point: --lr 0.01"),
        ("train --threads 0", "--threads must be a whole number from 1 to 1024; got '0'"),
        ("train --out", "--out needs a value behind it; got nothing"),
        ("train --data --json", "--data needs a value behind it; got '--json'"),
        ("predict --limit=-3", "--limit must be a whole number of at least 1; got '-3'"),
        ("bench --rate fast", "--rate must be a number; got 'fast'; the default is --rate 30"),
    ],
)
def test_a_value_that_is_none_is_refused_in_our_words(words: str, said: str) -> None:
    command, *rest = words.split()
    with pytest.raises(UsageError) as refused:
        read(command, *rest)
    assert said in str(refused.value)


def typed(command: str) -> list[tuple[str, bool]]:
    """Options of a command that take a value, and whether it is a number."""
    found = []
    for one in COMMANDS[command].params:
        if one.param_type_name == "option" and not one.is_flag and one.name not in {"help", "version"}:
            kinds = str(typer.main.get_params_from_function(COMMANDS[command].callback)[one.name].annotation)
            found.append((one.opts[0], "int" in kinds or "float" in kinds))
    return found


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_option_of_every_command_says_what_it_expects(command: str) -> None:
    assert typed(command) or command == "inspect"  # which has switches alone
    for option, is_number in typed(command):
        with pytest.raises(UsageError, match=f"^{option} (needs a value|must be . numbers)"):
            read(command, option)
        if is_number:
            with pytest.raises(UsageError, match=f"^{option} must be .* number.*; got 'zz'; "):
                read(command, option, "zz")
