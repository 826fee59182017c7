"""The protocols: which classes are known in each list, and the recipe of the run."""

import itertools
import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from edgeosr.data.catalogue import open_image_set
from edgeosr.data.labelled_images import ImageSet
from edgeosr.errors import UsageError
from edgeosr.training.settings import ARCH, CIRCUMSTANCES, TrainSettings

Lists = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One image set, its lists of known classes, and how a network is trained on each.

    Attributes:
        name: as ``--only`` takes it.
        recipe: of every list, but for the known classes.
        lists: from the opened set to the known class names of each list.
        usual: numbers of the lists that are run unless others are asked for; None for all.
        reduced: how the recipe falls short of a full one, in words; empty if it does not.
    """

    name: str
    recipe: TrainSettings
    lists: Callable[[ImageSet], Lists]
    usual: tuple[int, ...] | None = None
    reduced: str = ""

    def chosen(self, wanted: tuple[int, ...] | None) -> dict[int, tuple[str, ...]]:
        """Return the known classes of the wanted lists (None: the usual ones), by number.

        Raises:
            UsageError: there is no list of that number.
            DataError: the images are not there.
        """
        lists = self.lists(open_image_set(self.recipe.data, self.recipe.data_root))
        numbers = wanted if wanted is not None else self.usual
        for number in numbers or ():
            if not 0 <= number < len(lists):
                raise UsageError(f"--lists must lie in 0..{len(lists) - 1} for {self.name}; got {number}")
        return {number: lists[number] for number in (range(len(lists)) if numbers is None else numbers)}

    def settings(self, known: tuple[str, ...], out: Path | None = None) -> TrainSettings:
        """Return what a list is trained with."""
        return replace(self.recipe, known=known, out=out)

    def command(self, number: int, known: tuple[str, ...]) -> str:
        """Return how to do a list again: the suite's command, and behind it what is trained."""
        suite = f"python -m edgeosr.bench.open_set --only {self.name} --lists {number}"
        return f"{suite}  # {train_command(self.settings(known))}"


def train_command(settings: TrainSettings) -> str:
    """Return the ``edgeosr train`` line that does the same; where it was done is left out."""
    words = ["edgeosr", "train"]
    for field in fields(settings):
        value, option = getattr(settings, field.name), f"--{field.name.replace('_', '-')}"
        # Folds are no part of a run's record, but of what it takes to repeat a figure.
        left_out = field.name in CIRCUMSTANCES and field.name not in ("folds", "fold_epochs")
        usual = ARCH if field.name == "arch" else field.default
        if left_out or (value == usual and field.name != "data"):
            continue
        if isinstance(value, bool):
            words.append(option if value else option.replace("--", "--no-"))
        elif field.name == "known":
            words += [option, ",".join(value)]
        elif isinstance(value, tuple):
            words += [option, *map(str, value)]
        else:
            words += [option, str(value)]
    return shlex.join(words)


def choices(known: int) -> Callable[[ImageSet], Lists]:
    """Return every choice of so many classes, in lexical order."""
    return lambda images: tuple(itertools.combinations(images.train.class_names, known))


def drawn(known: int, count: int) -> Callable[[ImageSet], Lists]:
    """Return ``count`` draws of so many classes by NumPy's ``default_rng(0)``, consecutive, sorted."""

    def lists(images: ImageSet) -> Lists:
        names, random = images.train.class_names, np.random.default_rng(0)
        draws = [sorted(random.permutation(len(names))[:known].tolist()) for _ in range(count)]
        return tuple(tuple(names[label] for label in draw) for draw in draws)

    return lists


def published(images: ImageSet) -> Lists:
    """Return the set's own lists (``--split``)."""
    return images.splits


# 64 % train, 8 % select, 8 % calibrate and 20 % test are the product's own shares. No discriminator: without
# outliers its weight is 0 on a frozen backbone, and its synthetic images differ from list to list.
_FROZEN = TrainSettings(
    data="neu", arch="efficientnet-lite0", pretrained=True, freeze=True, discriminator=False
)

# As ``edgeosr demo``, without its clock.
_DIGITS = TrainSettings(data="digits", input_size=16, batch_size=32, epochs=40, rotation_weight=0.0)

PROTOCOLS: dict[str, Protocol] = {
    each.name: each
    for each in (
        Protocol(name="neu-frozen", recipe=_FROZEN, lists=choices(4)),
        Protocol(name="dtd-frozen", recipe=replace(_FROZEN, data="dtd10"), lists=drawn(6, 10)),
        Protocol(name="digits", recipe=_DIGITS, lists=published),
        # What pictures of other things are worth: none of them is of a class that is tested.
        Protocol(
            name="digits-outliers", recipe=replace(_DIGITS, outliers="omniglot", folds=3), lists=published
        ),
        Protocol(
            name="neu-outliers",
            recipe=replace(_FROZEN, outliers="dtd10", discriminator=True),
            lists=choices(4),
            usual=(0, 7, 14),
        ),
        Protocol(
            name="neu-finetuned",
            recipe=TrainSettings(
                data="neu",
                arch="efficientnet-lite0",
                input_size=128,
                pretrained=True,
                epochs=10,
                batch_size=32,
                rotation_weight=0.0,
            ),
            lists=choices(4),
            usual=(0, 7, 14),
            reduced="128 px, 10 epochs",
        ),
        Protocol(
            name="mnist",
            recipe=TrainSettings(
                data="mnist",
                fractions=(0.1, 0.05, 0.85),
                batch_size=64,
                epochs=8,
                lr=0.05,
                rotation_weight=0.0,
            ),
            lists=published,
            usual=(0,),
            reduced="a tenth of the training images, 8 epochs",
        ),
        Protocol(
            name="omniglot",
            recipe=TrainSettings(data="omniglot", batch_size=32, epochs=60, rotation_weight=0.0),
            lists=drawn(60, 5),
            usual=(0,),
            reduced="60 of 964 characters known, 12 training drawings each",
        ),
        Protocol(
            name="gtsrb",
            # As docs/results.md has it.
            recipe=TrainSettings(
                data="gtsrb", per_group=10, batch_size=64, epochs=18, lr=0.05, rotation_weight=0.0
            ),
            lists=published,
            usual=(0,),
            reduced="10 images a track, 18 epochs",
        ),
        Protocol(
            name="cifar10",
            recipe=TrainSettings(
                data="cifar10",
                fractions=(0.3, 0.1, 0.6),
                batch_size=64,
                epochs=15,
                lr=0.05,
                rotation_weight=0.0,
            ),
            lists=published,
            usual=(0,),
            reduced="three tenths of the training images, 15 epochs",
        ),
    )
}
