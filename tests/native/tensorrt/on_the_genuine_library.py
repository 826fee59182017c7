"""NVIDIA's own library where no GPU is, by ``make native-tensorrt``: it is found, and what it says is told.

Its first use ends the process where CUDA did not start: TensorRT gives an object all the same.
"""

import os

from cuda_double import Result
from handle import NO_BACKEND, options, said_on_opening

LIBRARY = os.environ["EDGEOSR_TENSORRT_GENUINE"]


def refused(made):
    given = {"backend": b"tensorrt", "backend_library": LIBRARY.encode(), "warmup_frames": -1}
    return said_on_opening(made.native, made.path, options(**given))


def test_without_a_gpu_it_is_not_touched(machine):
    made = machine()
    made.add()
    made.cuda.failures["cuInit"] = Result.CUDA_ERROR_NO_DEVICE
    status, said = refused(made)
    assert status == NO_BACKEND and "the NVIDIA driver finds no GPU it can use" in said


def test_its_version_is_read_and_an_engine_of_another_one_is_not_loaded(machine):
    made = machine()
    made.add(version="10.2.9")
    status, said = refused(made)
    assert status == NO_BACKEND and "it was built by TensorRT 10.2.9, and here is " in said
    assert LIBRARY.rsplit(".", 1)[-1] == said.split("and here is ")[1].split(".")[0]


def test_where_cuda_does_not_start_its_words_are_told_and_the_process_lives(machine):
    """The driver here is a double, which CUDA's runtime inside TensorRT does not take for one."""
    made = machine(integrated=False)
    made.add(version="10.2.9")
    version = refused(made)[1].split("and here is ")[1].split(";")[0]
    made.add(b"own", version=version)
    status, said = refused(made)
    assert status == NO_BACKEND and f"TensorRT {version} could not start: " in said
    assert "CUDA initialization failure" in said and "update the NVIDIA driver" in said
    assert made.faults == []
