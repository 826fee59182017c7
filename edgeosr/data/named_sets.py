"""The named image sets: their titles, class splits, and where their files are looked for."""

from dataclasses import dataclass
from pathlib import Path

from edgeosr.data.class_splits import KNOWN

# Where Debian's package dataset-fashion-mnist puts its four IDX files.
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True, kw_only=True)
class NamedSet:
    """What is known about a set before its files are opened.

    Attributes:
        name: what the user types.
        title: of the official data; a pack adds ``pack_note``.
        pack: file name of its pack, empty if there is none.
        pack_note: what the pack changed, so that its numbers are not set beside the papers'.
        official: relative places of the official archive or folder, tried before the packs.
        system: absolute place of the official folder that a system package makes, tried last.
        flips: True if a horizontal flip keeps the meaning of every image.
        how: how to get the data, for the error message.
    """

    name: str
    title: str
    pack: str = ""
    pack_note: str = ""
    official: tuple[str, ...] = ()
    system: Path | None = None
    flips: bool = False
    how: str

    def splits_of(self, class_names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Return the lists of known class names by split number, in the order of their labels.

        Empty if no lists are known, or if ``class_names`` are fewer than the lists are made for.
        """
        lists = KNOWN.get(self.name, ())
        if any(max(ids) >= len(class_names) for ids in lists):
            return ()
        return tuple(tuple(class_names[i] for i in ids) for ids in lists)


NAMED_SETS: dict[str, NamedSet] = {
    each.name: each
    for each in (
        NamedSet(
            name="digits",
            title="digits (scikit-learn, 8x8)",
            how="pip install 'edgeosr[export]'",
        ),
        NamedSet(
            name="fashion-mnist",
            title="Fashion-MNIST",
            official=("fashion-mnist", "FashionMNIST/raw", "FashionMNIST"),
            system=DEBIAN_FASHION_MNIST,
            flips=True,
            how="on Debian or Ubuntu: apt install dataset-fashion-mnist; or put the four IDX files "
            "(train-images-idx3-ubyte.gz ...) into fashion-mnist/",
        ),
        NamedSet(
            name="mnist",
            title="MNIST",
            pack="mnist_jpeg.npz",
            pack_note="JPEG q75 pack",
            official=("mnist", "MNIST/raw", "MNIST"),
            how="put the four IDX files (train-images-idx3-ubyte.gz ...) into mnist/, or mnist_jpeg.npz",
        ),
        NamedSet(
            name="cifar10",
            title="CIFAR-10",
            pack="cifar10_q90.npz",
            pack_note="WebP q90 pack",
            official=("cifar-10-binary.tar.gz", "cifar-10-batches-bin", "cifar10"),
            flips=True,
            how="put the binary version, cifar-10-binary.tar.gz, or cifar10_q90.npz there "
            "(the python version is pickles, which edgeosr does not read)",
        ),
        NamedSet(
            name="cifar100",
            title="CIFAR-100",
            pack="cifar100_test_q90.npz",
            pack_note="test images only, WebP q90 pack",
            official=("cifar-100-binary.tar.gz", "cifar-100-binary", "cifar100"),
            flips=True,
            how="put the binary version, cifar-100-binary.tar.gz, or cifar100_test_q90.npz there "
            "(the python version is pickles, which edgeosr does not read)",
        ),
        NamedSet(
            name="gtsrb",
            title="GTSRB",
            pack="gtsrb32_q90.npz",
            pack_note="32 px, WebP q90 pack",
            official=("GTSRB", "gtsrb", "gtsrb/GTSRB", "."),
            how="unpack GTSRB_Final_Training_Images.zip, GTSRB_Final_Test_Images.zip and "
            "GTSRB_Final_Test_GT.zip there, or put gtsrb32_q90.npz there",
        ),
        NamedSet(
            name="omniglot",
            title="Omniglot, background characters, ink bright",
            pack="omniglot_background.npz",
            pack_note="pack",
            how="put omniglot_background.npz there",
        ),
        NamedSet(
            name="omniglot-evaluation",
            title="Omniglot, evaluation characters, ink bright",
            pack="omniglot_evaluation.npz",
            pack_note="pack",
            how="put omniglot_evaluation.npz there",
        ),
        NamedSet(
            name="dtd10",
            title="DTD, 10 of 47 classes",
            pack="dtd10_128_q90.npz",
            pack_note="128 px, WebP q90 pack",
            flips=True,
            how="put dtd10_128_q90.npz there",
        ),
        NamedSet(
            name="neu",
            title="NEU steel surface defects",
            pack="neu_det128_q90.npz",
            pack_note="128 px, WebP q90 pack",
            flips=True,
            how="put neu_det128_q90.npz there",
        ),
    )
}


def set_of_pack(path: Path) -> NamedSet | None:
    """Return the named set whose pack has this file name, if any."""
    return next((each for each in NAMED_SETS.values() if each.pack == path.name), None)
