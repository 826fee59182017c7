"""How many threads a run takes: by the size of its steps, unless it is told."""

import pytest
import torch

from edgeosr.training import processors
from edgeosr.training.settings import TrainSettings
from edgeosr.training.train import train


@pytest.fixture(autouse=True)
def _eight_processors(monkeypatch):
    monkeypatch.setattr(processors, "usable_processors", lambda: 8)


def wanted(**changes):
    return TrainSettings(**{"data": "digits", **changes})


@pytest.mark.parametrize(
    ("changes", "processes", "threads"),
    [
        ({"input_size": 16, "batch_size": 32}, 1, 1),
        ({"input_size": 32, "batch_size": 32}, 1, 1),
        ({"input_size": 32, "batch_size": 128}, 1, 4),
        ({"input_size": 32, "batch_size": 128}, 2, 2),
        ({"input_size": 224, "batch_size": 32}, 1, 8),
        ({"input_size": 224, "batch_size": 32}, 4, 2),
        ({"input_size": 224, "batch_size": 32}, 16, 1),
        ({"input_size": 16, "batch_size": 32, "threads": 3}, 1, 3),
        ({"input_size": 224, "batch_size": 128, "threads": 1}, 1, 1),
    ],
)
def test_each_thread_gets_a_step_s_worth_and_no_more_are_taken_than_there_are(
    changes, processes, threads, monkeypatch
):
    monkeypatch.setattr(processors, "_TOLD", "")
    assert processors.threads_for(wanted(**changes), processes=processes) == threads


@pytest.mark.parametrize(
    ("told", "threads"),
    [("1", 1), ("3", 3), ("99", 8), ("0", 8), ("", 8), ("4,2", 4), (" 2 ,1", 2), (",2", 8), ("many", 8)],
)
def test_no_more_threads_are_taken_than_the_environment_allows(told, threads, monkeypatch):
    monkeypatch.setattr(processors, "_TOLD", told)
    assert processors.threads_for(wanted(input_size=224, batch_size=32)) == threads
    assert processors.threads_for(wanted(input_size=224, batch_size=32, threads=5)) == 5


@pytest.mark.parametrize(
    ("told", "of_torchrun", "threads"), [("1", "2", 4), ("2", "2", 2), ("1", "1", 1), ("1", None, 1)]
)
def test_the_one_thread_that_torchrun_sets_by_itself_for_several_processes_is_not_what_a_person_allowed(
    told, of_torchrun, threads, monkeypatch
):
    monkeypatch.setattr(processors, "_TOLD", told)
    if of_torchrun is not None:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", of_torchrun)
    assert processors.threads_for(wanted(input_size=224, batch_size=32), processes=2) == threads


def test_what_a_launcher_sets_later_is_not_what_a_person_allowed(monkeypatch):
    monkeypatch.setattr(processors, "_TOLD", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert processors.threads_for(wanted(input_size=224, batch_size=32)) == 8


@pytest.mark.parametrize(("count", "words"), [(1, "1 thread"), (3, "3 threads")])
def test_the_name_of_the_processor_counts_its_threads_in_words(count, words, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    assert processors.device_name(torch.device("cpu")).endswith(f", {words}")


def test_a_run_takes_the_threads_it_was_told_and_leaves_torch_as_it_was(settings, changed, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "edgeosr.training.train.train_epochs", lambda *_, **__: seen.append(torch.get_num_threads()) or 1 / 0
    )
    before = torch.get_num_threads()
    for threads in (1, 3):
        with pytest.raises(ZeroDivisionError):
            train(changed(settings, threads=threads))
    assert seen == [1, 3]
    assert torch.get_num_threads() == before
