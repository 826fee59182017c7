"""Training touches an MPI only where an mpirun started it, and says nothing of TF32."""

import logging
import os
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from edgeosr.run import read_run
from edgeosr.training import processors
from edgeosr.training.fold_plan import Fold, fold_settings
from edgeosr.training.fold_processes import run_folds
from edgeosr.training.launchers import own_environment, started_by_mpirun
from edgeosr.training.settings import TrainSettings

# As on a machine whose Open MPI finds no way to start its daemon.
MPI_THAT_ENDS_THE_PROCESS = """
import os, sys
sys.stderr.write("It looks like MPI_INIT failed for some reason\\n")
sys.stderr.flush()
os.abort()
"""


@pytest.fixture
def bare(monkeypatch):
    """An environment that no launcher has touched."""
    for name in set(os.environ) - set(own_environment()):
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def mpi4py_that_aborts(tmp_path):
    folder = tmp_path / "packages"
    (folder / "mpi4py").mkdir(parents=True)
    (folder / "mpi4py" / "__init__.py").touch()
    (folder / "mpi4py" / "MPI.py").write_text(MPI_THAT_ENDS_THE_PROCESS)
    return folder


def test_a_fold_is_trained_where_an_mpi4py_is_installed_that_would_end_it(
    mpi4py_that_aborts, digits_folder, tmp_path, bare
):
    bare.setenv("PYTHONPATH", str(mpi4py_that_aborts))
    bare.setenv("OMPI_MCA_plm_rsh_agent", "none")  # a setting of an Open MPI, not a launcher's variable
    run = TrainSettings(
        data=str(digits_folder), known=("0", "1", "2"), input_size=16, batch_size=16, epochs=1,
        rotation_weight=0, fractions=(0.5, 0.3, 0.2), discriminator=False,
    )  # fmt: skip
    fold, done = Fold(1, ("2",), ("0", "1"), 1), []
    run_folds([(fold, fold_settings(run, fold, tmp_path / "1", threads=1))], [{}], done.append)
    assert done == [fold]
    assert read_run(tmp_path / "1").result["epochs"] == 1


def fake_mpi(monkeypatch, size):
    """Install an ``mpi4py`` of ``size`` processes; return how often its size was asked for."""
    from lightning_fabric.plugins.environments import mpi

    asked = []
    module = ModuleType("mpi4py")
    module.MPI = SimpleNamespace(
        COMM_WORLD=SimpleNamespace(Get_size=lambda: asked.append(size) or size, Get_rank=lambda: 0)
    )
    monkeypatch.setitem(sys.modules, "mpi4py", module)
    monkeypatch.setattr(mpi, "_MPI4PY_AVAILABLE", True)
    return asked


def test_the_mpi_is_asked_where_an_mpirun_started_this_process_and_only_there(bare):
    asked = fake_mpi(bare, 1)
    bare.setenv("OMPI_MCA_plm_rsh_agent", "none")
    processors.make_fabric(TrainSettings(data="digits"))
    assert not started_by_mpirun() and not asked
    for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "MV2_COMM_WORLD_SIZE"):
        bare.setenv(name, "1")
        processors.make_fabric(TrainSettings(data="digits"))
        assert asked == [1], name
        asked.clear()
        assert name not in own_environment(), "a fold is started by nobody"
        bare.delenv(name)


@pytest.mark.parametrize(
    "variables",
    [
        {"TORCHELASTIC_RUN_ID": "1"},
        {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train"},
        {name: "1" for name in ("LSB_JOBID", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_SIZE")}
        | {"LSB_DJOB_RANKFILE": "hosts"},
    ],
    ids=["torchrun", "srun", "jsrun"],
)
def test_fabric_finds_the_other_launchers_itself(bare, variables):
    asked = fake_mpi(bare, 1)
    assert len(processors._environment()) == 1
    for name, value in variables.items():
        bare.setenv(name, value)
    assert processors._environment() == [] and not asked


def test_fabric_s_advice_about_tf32_is_not_printed_and_its_other_words_are(monkeypatch):
    from lightning_fabric.accelerators import cuda

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    processors.make_fabric(TrainSettings(data="digits"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "a card")
    said, log = [], logging.getLogger("lightning_fabric.utilities.rank_zero")
    handler = logging.Handler()
    handler.emit = said.append
    log.addHandler(handler)
    try:
        cuda._check_cuda_matmul_precision.__wrapped__(torch.device("cuda"))
        assert torch.get_float32_matmul_precision() == "highest"
        assert not said
        log.info("Using bfloat16 Automatic Mixed Precision (AMP)")
        assert len(said) == 1
    finally:
        log.removeHandler(handler)
