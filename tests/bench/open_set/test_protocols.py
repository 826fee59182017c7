"""Which classes are known, how images are shared out, and that each recipe can be typed."""

import shlex
from dataclasses import replace

import numpy as np
import pytest
from typer.main import get_command

from edgeosr.bench.open_set.protocols import PROTOCOLS, choices, drawn, train_command
from edgeosr.cli.app import app
from edgeosr.data.array_images import images_from_array
from edgeosr.data.labelled_images import ImageSet
from edgeosr.data.parts import four_parts
from edgeosr.errors import UsageError
from edgeosr.training.settings import TrainSettings


def image_set(names: list[str], each: int = 1) -> ImageSet:
    labels = np.repeat(np.arange(len(names)), each)
    # No two alike: copies of one picture would be one group.
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 4, 4), np.uint8)
    return ImageSet(
        source="made", title="made", train=images_from_array(pixels, labels, names, name="made"), test=None
    )


def test_neu_has_every_choice_of_four_of_six_in_lexical_order():
    names = ["a", "b", "c", "d", "e", "f"]
    lists = choices(4)(image_set(names))
    assert len(lists) == len(set(lists)) == 15
    assert lists[0] == ("a", "b", "c", "d") and lists[1] == ("a", "b", "c", "e")
    assert lists[-1] == ("c", "d", "e", "f") and sorted(lists) == list(lists)


def test_dtd_has_ten_draws_of_one_generator_sorted():
    lists = drawn(6, 10)(image_set(list("0123456789")))
    random = np.random.default_rng(0)
    assert lists == tuple(tuple(str(i) for i in sorted(random.permutation(10)[:6])) for _ in range(10))


def test_a_known_class_is_shared_out_64_8_8_20_and_all_of_the_others_is_unknown():
    settings = PROTOCOLS["neu-frozen"].recipe
    parts = four_parts(
        image_set(["a", "b", "c"], each=300),
        known=["a", "b"],
        fractions=settings.fractions,
        test_fraction=settings.test_fraction,
    )
    sizes = {name: images for name, (images, _) in parts.sizes.items()}
    assert sizes == {"train": 384, "select": 48, "calibrate": 48, "test": 120, "unknown_test": 300}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_command_of_a_recipe_trains_with_the_recipe(name):
    settings = replace(PROTOCOLS[name].recipe, known=("a", "b c"))
    command = get_command(app).commands["train"]
    words = shlex.split(train_command(settings))
    assert words[:2] == ["edgeosr", "train"]
    parsed = command.make_context("train", words[2:]).params
    assert TrainSettings(data="x", arch=parsed["arch"], pretrained=parsed["pretrained"]).arch == settings.arch
    compared = ("data", "epochs", "batch_size", "lr", "input_size", "rotation_weight", "per_group")
    for field in (*compared, "outliers", "folds"):
        assert parsed[field] == getattr(settings, field), field
    for field in ("pretrained", "freeze", "discriminator", "seed", "test_fraction"):
        assert parsed[field] == getattr(settings, field), field
    assert tuple(parsed["fractions"]) == settings.fractions
    assert parsed["known"] == "a,b c"


def test_a_list_that_is_not_there_is_refused_and_usual_lists_are_the_default():
    digits = PROTOCOLS["digits"]
    assert list(digits.chosen(None)) == [0, 1, 2, 3, 4]
    assert digits.chosen((3,)) == {3: ("3", "7", "8", "4", "0", "5")}
    assert list(replace(digits, usual=(1,)).chosen(None)) == [1]
    with pytest.raises(UsageError, match=r"--lists must lie in 0\.\.4 for digits; got 5"):
        digits.chosen((0, 5))
