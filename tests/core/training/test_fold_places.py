"""Where folds train side by side. No GPU is needed: what torch says of one is put in its place."""

import pytest

from edgeosr.training import fold_places
from edgeosr.training.fold_places import gpus, peak_gpu_memory, places, threads_of_each
from edgeosr.training.settings import TrainSettings

GB = 1 << 30


@pytest.fixture
def machine(monkeypatch):
    """Return a function that makes a machine of so many GPUs and processors."""

    def made(cuda, *, processors=2, free=80 * GB, integrated=False):
        properties = type("Properties", (), {"is_integrated": integrated})
        frees = free if isinstance(free, list) else [free] * cuda
        for name, answer in {
            "is_available": lambda: cuda > 0,
            "device_count": lambda: cuda,
            "mem_get_info": lambda number: (frees[number], 80 * GB),
            "get_device_properties": lambda number: properties(),
            "max_memory_reserved": lambda: 3 * GB,
        }.items():
            monkeypatch.setattr(fold_places.torch.cuda, name, answer)
        monkeypatch.setattr(fold_places, "usable_processors", lambda: processors)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return made


def found(folds=3, peak=None, **settings):
    result = {} if peak is None else {"gpu_memory_bytes": peak}
    settings = TrainSettings(data="digits", **settings)
    return [place.get("CUDA_VISIBLE_DEVICES") for place in places(folds, settings, result)]


@pytest.mark.parametrize(
    ("cuda", "visible", "devices", "expected"),
    [
        (0, None, "auto", [None, None]),
        (4, None, "auto", ["0", "1", "2"]),
        (1, None, "auto", ["0"]),
        (2, "5, GPU-x", "auto", ["5", "GPU-x"]),
        (4, None, 1, ["0"]),
        (0, None, 1, [None]),
        (0, None, 8, [None, None]),
    ],
)
def test_each_fold_at_work_has_a_gpu_or_a_processor_of_its_own(
    machine, monkeypatch, cuda, visible, devices, expected
):
    machine(cuda)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert found(devices=devices) == expected


@pytest.mark.parametrize(
    ("peak", "free", "integrated", "expected"),
    [
        (2 * GB, 80 * GB, False, 3),
        (2 * GB, 8 * GB, False, 2),  # 7.2 GB for 3 each
        (2 * GB, 6 * GB, False, 1),
        (7 * GB, 2 * GB, False, 1),  # the run itself had room
        (1 * GB, 7 * GB, True, 1),  # a small Jetson: 4 each
        (1 * GB, 14 * GB, True, 3),
        (0, 80 * GB, False, 1),
        ("much", 80 * GB, False, 1),
    ],
)
def test_one_gpu_has_as_many_folds_as_its_memory_has_room_for(machine, peak, free, integrated, expected):
    machine(1, processors=16, free=free, integrated=integrated)
    assert found(folds=5, peak=peak) == ["0"] * expected


def test_every_gpu_has_a_fold_before_one_has_two_and_a_processor_feeds_each(machine):
    machine(2, processors=16, free=[80 * GB, 5 * GB])
    assert found(folds=10, peak=2 * GB) == ["0", "1", "0", "0"]
    machine(2, processors=3)
    assert found(folds=10, peak=2 * GB) == ["0", "1", "0"]
    machine(2, processors=1)
    assert found(folds=10, peak=2 * GB) == ["0", "1"]


def test_a_number_of_devices_keeps_folds_apart(machine):
    machine(2, processors=16)
    assert found(folds=10, peak=GB, devices=2) == ["0", "1"]
    assert found(folds=10, peak=GB, devices=1) == ["0"]


def test_folds_on_one_gpu_are_counted_as_one_for_the_time_that_they_take(machine):
    machine(2, processors=16)
    shared = places(10, TrainSettings(data="digits"), {"gpu_memory_bytes": GB})
    assert len(shared) == 6 and gpus(shared) == 2
    machine(0)
    assert gpus(places(3, TrainSettings(data="digits"), {})) == 2


def test_a_run_on_a_gpu_keeps_its_peak_and_one_without_keeps_none(machine):
    machine(1)
    assert peak_gpu_memory() == {"gpu_memory_bytes": 3 * GB}
    machine(0)
    assert peak_gpu_memory() == {}


@pytest.mark.parametrize(
    ("threads", "processors", "at_once", "each"), [(1, 8, 1, 1), (2, 8, 2, 1), (7, 8, 3, 2), (4, 1, 1, 4)]
)
def test_folds_share_the_threads_that_the_user_allows(machine, threads, processors, at_once, each):
    machine(0, processors=processors)
    settings = TrainSettings(data="digits", threads=threads)
    assert len(places(3, settings, {})) == at_once
    assert threads_of_each(3, settings, {}) == each
