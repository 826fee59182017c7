"""What export says to type means what it found to be right, typed into the command as it says."""

import json
import shlex

import pytest
import typer

from edgeosr.cli.app import app
from edgeosr.export.foreign.advice import advice_for
from edgeosr.export.foreign.alternatives import cut_alternatives, same_cut, same_values, value_alternatives
from edgeosr.export.foreign.stated import stated_preprocessing
from edgeosr.export.settings import ExportSettings

READ = ("preprocessing", "mean", "std", "color", "fit", "resize", "crop_fraction", "resampling")
EXPORT = typer.main.get_command(app).commands["export"]
COMMANDS = [
    "",
    "--preprocessing inception",
    "--preprocessing inception --resize 256",
    "--preprocessing caffe --fit crop --crop-fraction 0.875",
    "--preprocessing imagenet --color bgr --fit stretch",
    "--mean 0.1 0.2 0.3 --std 0.4 0.5 0.6 --color bgr --resize 240",
    "--mean 123.675 116.28 103.53 --std 58.395 57.12 57.375 --resampling bicubic",
    "--fit letterbox --std 0.5 0.5 0.5",
    "--preprocessing timm.json",
    "--preprocessing timm.json --fit crop",
    "--preprocessing timm.json --mean 0.1 0.2 0.3 --resampling bilinear",
    "--preprocessing squash.json",
    "--preprocessing squash.json --crop-fraction 0.9",
    "--preprocessing plain.json --color bgr",
    "--preprocessing wide.json",
]
# A share of a stretched shape that is not square is refused already.
CASES = [
    *((command, (224, 224)) for command in COMMANDS),
    *((command, (224, 160)) for command in COMMANDS if "squash" not in command),
    ("--preprocessing squash.json --resize 256", (224, 160)),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with files that state values, cut and filter at once."""
    folder = tmp_path_factory.mktemp("files")
    timm = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "crop_pct": 0.9, "input_size": [3, 224, 224]}
    (folder / "timm.json").write_text(json.dumps({**timm, "interpolation": "bicubic"}))
    (folder / "squash.json").write_text(json.dumps({**timm, "crop_mode": "squash"}))
    (folder / "plain.json").write_text(json.dumps({"task": "classify", "imgsz": 224}))
    # No --std can say 1.5: it is neither of 0..1 nor of 0..255.
    wide = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1.5] * 3, "do_rescale": True}
    (folder / "wide.json").write_text(json.dumps(wide))
    return folder


def settings_of(words):
    """What the command line makes of these words."""
    found = EXPORT.make_context("export", ["model.onnx", *words]).params
    # Three numbers come as a list, empty where none was given.
    values = {name: found[name] for name in READ if found[name] not in (None, [], ())}
    return ExportSettings(**{n: tuple(v) if isinstance(v, list) else v for n, v in values.items()})


def options_of(words):
    """The words of each option, by its name."""
    options = {}
    for word in words:
        if word.startswith("--"):
            assert word not in options, f"{word} stands twice in the command"
            name = options[word] = []
        else:
            name.append(word)
    return options


def typed(command, advice):
    """The command after somebody did what the advice says, and nothing else."""
    kept = options_of(command)
    for name in advice.in_place_of:
        del kept[name.split()[0]]
    old = [word for name, values in kept.items() for word in (name, *values)]
    words = [*old, *shlex.split(advice.options)]
    options_of(words)
    return words


@pytest.mark.parametrize(("command", "size"), CASES)
def test_the_command_states_what_was_found_after_the_advice(command, size, files, monkeypatch):
    monkeypatch.chdir(files)
    words = command.split()
    settings = settings_of(words)
    before = stated_preprocessing(settings, *size)
    mean, wide = before.preprocessing.mean, before.preprocessing.std
    tried = [*value_alternatives(before.preprocessing), *cut_alternatives(before.preprocessing)]
    both = [cut for one in tried[:3] for cut in cut_alternatives(one.preprocessing)]
    for one in (*tried, *both):
        if "wide" in command and one.preprocessing.std == wide and one.preprocessing.mean != mean:
            continue  # no option can say these
        advice = advice_for(one, settings)
        after = stated_preprocessing(settings_of(typed(words, advice)), *size)
        told = f"{one.title}: {advice}"
        assert same_values(after.preprocessing, one.preprocessing), told
        assert same_cut(after.preprocessing, one.preprocessing), told
        assert after.resampling == before.resampling, told


@pytest.mark.parametrize(
    ("command", "title", "expected"),
    [
        (
            "--preprocessing inception --resize 256",
            "the values of imagenet",
            "--preprocessing imagenet in place of --preprocessing inception",
        ),
        ("--preprocessing inception --resize 256", "the whole frame", "--fit stretch in place of --resize"),
        (
            "--preprocessing timm.json",
            "nothing cut off but what does not fit",
            "--fit crop --crop-fraction 1",
        ),
        ("--preprocessing timm.json", "the whole frame", "--fit stretch"),
        (
            "--preprocessing timm.json",
            "the values of inception",
            "--preprocessing inception --fit crop --resize 248 --resampling bicubic in place of "
            "--preprocessing timm.json",
        ),
    ],
)
def test_only_options_of_the_same_kind_are_replaced(command, title, expected, files, monkeypatch):
    monkeypatch.chdir(files)
    settings = settings_of(command.split())
    stated = stated_preprocessing(settings, 224, 224).preprocessing
    tried = (*value_alternatives(stated), *cut_alternatives(stated))
    assert str(advice_for(next(one for one in tried if one.title.startswith(title)), settings)) == expected
