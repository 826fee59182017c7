"""The numbered splits are the published ones, and well formed."""

import pytest

from edgeosr.data.class_splits import KNOWN
from edgeosr.data.named_sets import NAMED_SETS

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CLASSES = {"digits": 10, "mnist": 10, "fashion-mnist": 10, "cifar10": 10, "gtsrb": 43, "neu": 6, "dtd10": 10}
KNOWN_CLASSES = {"gtsrb": 30, "neu": 4, "dtd10": 7}


@pytest.mark.parametrize("name", KNOWN)
def test_every_split_has_its_number_of_distinct_classes(name: str) -> None:
    assert len(KNOWN[name]) == 5
    for ids in KNOWN[name]:
        assert len(set(ids)) == len(ids) == KNOWN_CLASSES.get(name, 6)
        assert set(ids) <= set(range(CLASSES[name]))


def test_cifar10_split_0_is_arpls_in_its_printed_order() -> None:
    known = NAMED_SETS["cifar10"].splits_of(CIFAR10)[0]
    assert known == ("airplane", "frog", "deer", "truck", "automobile", "horse")


def test_cifar10_and_mnist_lists_by_their_sums() -> None:
    # Sums and sums of squares of the printed lists, worked out apart from the code.
    assert [sum(ids) for ids in KNOWN["cifar10"]] == [27, 27, 29, 31, 29]
    assert [sum(i * i for i in ids) for ids in KNOWN["cifar10"]] == [183, 183, 181, 231, 187]
    assert [sum(ids) for ids in KNOWN["mnist"]] == [31, 24, 28, 27, 32]
    assert [sum(i * i for i in ids) for ids in KNOWN["mnist"]] == [199, 146, 154, 163, 210]


def test_gtsrb_split_0_leaves_out_our_13_classes() -> None:
    known = NAMED_SETS["gtsrb"].splits_of(tuple(str(i) for i in range(43)))[0]
    unknown = {str(i) for i in range(43)} - set(known)
    assert unknown == {"0", "6", "7", "14", "15", "19", "20", "26", "28", "31", "32", "35", "40"}
    assert known[:3] == ("1", "2", "3")


def test_a_set_with_other_classes_has_no_numbered_splits() -> None:
    assert NAMED_SETS["mnist"].splits_of(("0", "1")) == ()
    assert NAMED_SETS["cifar100"].splits_of(tuple("abc")) == ()
