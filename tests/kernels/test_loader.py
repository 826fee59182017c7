"""FusedScorer: for real where there is no driver, and against a double that executes the kernel."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_double import CudaDouble, DlpackArray, HostArray, Result
from fused_cases import Case, random_inputs, random_scorer, reference_of

from edgeosr.errors import (
    CudaError,
    DeviceError,
    MissingSymbolError,
    NoDriverError,
    UsageError,
)
from edgeosr.kernels.build.images import Image
from edgeosr.kernels.driver.driver import Driver
from edgeosr.kernels.fused_score import FusedScorer
from edgeosr.kernels.packing import unpacked_weights

IMAGE = Image(b"\x7fELF", "test")
STREAM = 0x5EED


def case(**changes: Any) -> Case:
    settings: dict[str, Any] = {
        "dimension": 37,
        "batch": 3,
        "classes": 6,
        "head": "cosine",
        "discriminator": "two",
        "half_weights": True,
        "half_input": True,
        "positions": 16,
        "filter": 3,
    }
    return Case(**{**settings, **changes})


def loaded(of: Case, cuda: CudaDouble | None = None, *, half: bool | None = None) -> FusedScorer:
    return FusedScorer(random_scorer(of), half=half, driver=Driver(cuda or CudaDouble()), image=IMAGE)


def scored(of: Case, cuda: CudaDouble | None = None) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    scorer, inputs = loaded(of, cuda, half=of.half_weights), random_inputs(of)
    logits = None if inputs.logits is None else HostArray(inputs.logits)
    if inputs.map is not None:
        verdicts = scorer.score_map(HostArray(inputs.map), logits=logits, stream=STREAM)
    else:
        t = None if inputs.tangents is None else HostArray(inputs.tangents)
        verdicts = scorer.score(HostArray(inputs.embedding), t, logits=logits, stream=STREAM)
    return verdicts.to_host(), reference_of(unpacked_weights(scorer.scorer, half=of.half_weights), inputs)


def assert_agree(found: np.ndarray, expected: dict[str, np.ndarray], tolerance: float = 1e-2) -> None:
    assert (found["label"] == expected["label"]).all()
    assert np.abs(found["score"] - expected["score"]).max() < tolerance
    assert ((found["flags"] & 2 > 0) == expected["accepted"])[np.abs(expected["score"]) > tolerance].all()


# Where there is no driver: for real.

no_driver = pytest.mark.skipif(
    Path("/proc/driver/nvidia").exists() or Path("/dev/nvhost-gpu").exists(),
    reason="this machine has an NVIDIA driver: the error of a machine without one cannot be seen",
)


@no_driver
def test_without_a_driver_the_error_says_so_and_what_else_scores() -> None:
    assert importlib.util.find_spec("cuda.bindings"), "the dev extra brings cuda-python"
    with pytest.raises(NoDriverError, match=r"needs the NVIDIA driver.*--gpus all.*model\.onnx"):
        FusedScorer(random_scorer(case()))


# Everything else: against the double.


def test_a_build_without_the_entry_says_to_build_anew() -> None:
    cuda = CudaDouble()
    cuda.entries.clear()
    scorer = loaded(case(), cuda)
    with pytest.raises(MissingSymbolError, match=r"no entry 'fused_score_map_mma_f16'.*build_cubins"):
        scorer.score_map(HostArray(random_inputs(case()).map))


def test_a_failed_launch_names_the_call_and_cudas_code() -> None:
    scorer = loaded(case(), CudaDouble(failures={"cuLaunchKernel": Result.CUDA_ERROR_LAUNCH_FAILED}))
    with pytest.raises(CudaError, match="cuLaunchKernel failed: CUDA_ERROR_LAUNCH_FAILED") as caught:
        scorer.score_map(HostArray(random_inputs(case()).map))
    assert caught.value.call == "cuLaunchKernel"


@pytest.mark.parametrize(
    "of",
    [
        case(),
        case(half_weights=False, half_input=False, activation="silu"),
        case(positions=0, probes=5, batch=9, head="linear"),
        case(positions=0, probes=0, discriminator="none", half_input=False),
        case(positions=0, probes=1, batch=1),
        case(head="external", classes=17),
    ],
    ids=str,
)
def test_arrays_streams_and_weights_reach_the_kernel(of: Case) -> None:
    assert_agree(*scored(of))


def test_a_scorer_without_tensor_cores_is_packed_in_fp32() -> None:
    cuda = CudaDouble(architecture=(7, 2), driver=11040)
    assert not loaded(case(), cuda).packed.half
    with pytest.raises(UsageError, match=r"fp16 weights need tensor cores.*sm_72; pass half=False"):
        loaded(case(), cuda, half=True)


@pytest.mark.parametrize("padding", [0, 3])
def test_channels_last_is_taken_in_both_orders_of_axes_without_a_copy(padding: int) -> None:
    of = case()
    scorer, inputs = loaded(of), random_inputs(of)
    padded = np.zeros((3, 4, 4, 37 + padding), np.float16)
    padded[..., :37] = inputs.map.transpose(0, 2, 3, 1)
    expected = reference_of(unpacked_weights(scorer.scorer, half=True), inputs)
    view = padded[..., :37]
    assert_agree(scorer.score_map(HostArray(view), layout="nhwc").to_host(), expected)
    assert_agree(scorer.score_map(HostArray(view.transpose(0, 3, 1, 2))).to_host(), expected)


def test_a_view_of_a_larger_batch_is_taken_with_its_strides() -> None:
    of = case(positions=0, probes=5)
    scorer, inputs = loaded(of), random_inputs(of)
    z, t = np.zeros((6, 50), np.float16), np.zeros((7, 4, 45), np.float16)
    z[::2, :37] = inputs.embedding
    t[:5, :3, :37] = inputs.tangents
    found = scorer.score(HostArray(z[::2, :37]), HostArray(t[:5, :3, :37])).to_host()
    assert_agree(found, reference_of(unpacked_weights(scorer.scorer, half=True), inputs))


def test_dlpack_is_taken_and_told_the_stream() -> None:
    of = case()
    scorer, inputs = loaded(of), random_inputs(of)
    array = DlpackArray(inputs.map)
    found = scorer.score_map(array, stream=STREAM).to_host()
    assert_agree(found, reference_of(unpacked_weights(scorer.scorer, half=True), inputs))
    scorer.score_map(array)
    assert array.streams == [STREAM, 1]  # 1 is DLPack's name of the default stream


def test_an_array_made_on_another_stream_is_waited_for_by_an_event_never_by_the_host() -> None:
    cuda = CudaDouble()
    scorer = loaded(case(), cuda)
    room = scorer.room(3)
    waits_of_the_host = cuda.count("cuStreamSynchronize")
    y = random_inputs(case()).map
    scorer.score_map(HostArray(y, stream=77), stream=STREAM, into=room)
    names = [call[0] for call in cuda.calls]
    recorded = next(call for call in cuda.calls if call[0] == "cuEventRecord")
    assert recorded[2] == 77
    assert names.index("cuStreamWaitEvent") < names.index("cuLaunchKernel")
    assert cuda.count("cuStreamSynchronize") == waits_of_the_host
    before = cuda.count("cuStreamWaitEvent")
    scorer.score_map(HostArray(y, stream=STREAM), stream=STREAM, into=room)
    assert cuda.count("cuStreamWaitEvent") == before
    scorer.score_map(
        HostArray(y, stream=None), stream=STREAM + 1, into=room
    )  # the room's last use was elsewhere
    assert cuda.count("cuStreamWaitEvent") == before + 1


def test_a_call_with_its_own_room_allocates_nothing_and_launches_once() -> None:
    cuda = CudaDouble()
    scorer, y = loaded(case(), cuda), HostArray(random_inputs(case()).map)
    room = scorer.room(3)
    scorer.score_map(y, into=room)
    cuda.calls.clear()
    scorer.score_map(y, into=room)
    kinds = [name for name, *_ in cuda.calls if name not in ("cuCtxGetCurrent", "cuCtxGetDevice")]
    assert kinds == ["cuLaunchKernel", "cuEventRecord"]


def test_an_aborted_launch_never_replays_an_old_verdict() -> None:
    cuda = CudaDouble()
    scorer, y = loaded(case(), cuda), HostArray(random_inputs(case()).map)
    room = scorer.room(3)
    assert (scorer.score_map(y, into=room).to_host()["flags"] & 1).all()
    cuda.executes = False  # the launch is lost
    with pytest.raises(DeviceError, match="3 of 3 verdicts were not written"):
        scorer.score_map(y, into=room).to_host()


def test_a_threshold_changes_what_the_same_room_says() -> None:
    scorer, y = loaded(case()), HostArray(random_inputs(case()).map)
    room = scorer.room(3)
    for threshold, accepted in ((1e9, True), (-1e9, False), (float("nan"), False)):
        scorer.set_threshold(threshold)
        assert ((scorer.score_map(y, into=room).to_host()["flags"] & 2 > 0) == accepted).all()


def test_an_empty_batch_is_a_success_without_a_launch() -> None:
    cuda = CudaDouble()
    scorer = loaded(case(), cuda)
    assert len(scorer.score_map(HostArray(np.zeros((0, 37, 4, 4), np.float16))).to_host()) == 0
    assert cuda.count("cuLaunchKernel") == 0


def test_closing_frees_what_was_allocated_and_a_closed_scorer_says_so() -> None:
    cuda = CudaDouble()
    with loaded(case(), cuda) as scorer, scorer.room(3) as room:
        assert room.__cuda_array_interface__["shape"] == (3, 80)
    assert cuda.memory == {}
    with pytest.raises(UsageError, match="was closed"):
        scorer.score_map(HostArray(random_inputs(case()).map))
    uploads = cuda.count("cuMemcpyHtoDAsync")
    with pytest.raises(UsageError, match="was closed"):
        scorer.set_threshold(0.5)
    assert cuda.count("cuMemcpyHtoDAsync") == uploads


@pytest.mark.parametrize("call", ["cuMemcpyHtoDAsync", "cuStreamSynchronize"])
def test_an_upload_that_fails_leaves_no_weights_behind(call: str) -> None:
    cuda = CudaDouble(failures={call: Result.CUDA_ERROR_LAUNCH_FAILED})
    with pytest.raises(DeviceError):
        loaded(case(), cuda)
    assert cuda.count("cuMemAlloc") == 1 and cuda.memory == {}


Y = np.zeros((3, 37, 4, 4), np.float16)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (HostArray(Y[:, :36].copy()), r"y must be \[B, 37, H, W\]; got \[3, 36, 4, 4\]"),
        (HostArray(Y[0]), r"y must be \[B, 37, H, W\]; got \[37, 4, 4\]"),
        (HostArray(Y.astype(np.float64)), "float16 or float32; got the type string '<f8'"),
        (HostArray(Y.astype(np.int8)), "float16 or float32"),
        (HostArray(np.zeros((3, 37, 4, 8), np.float16)[..., ::2]), "channels first or last; got shape"),
        (HostArray(np.zeros((3, 37, 17, 16), np.float16)), "positions must be from 1 to 256 .* got 272"),
        (HostArray(np.zeros((1025, 37, 1, 1), np.float16)), "the batch must be from 0 to 1024 .* got 1025"),
        (Y, "y must be on a CUDA device; got ndarray on the CPU"),
        ([1.0], "y must be an array on a CUDA device, with __cuda_array_interface__ or DLPack .* got list"),
        (DlpackArray(Y, (2, 1)), "the scorer is on device 0, but y is on device 1"),
        (DlpackArray(Y, (10, 0)), "on DLPack device type 10"),
        (DlpackArray(Y.astype(np.float64)), r"got the DLPack type \(2, 64, 1\)"),
    ],
)
def test_what_the_kernel_cannot_take_is_refused_before_the_launch(y: Any, words: str) -> None:
    cuda = CudaDouble()
    with pytest.raises(UsageError, match=words):
        loaded(case(), cuda).score_map(y)
    assert cuda.count("cuLaunchKernel") == 0


def test_a_misaligned_masked_or_negative_array_is_refused() -> None:
    raw = np.zeros(3 * 37 * 16 * 2 + 1, np.uint8)
    odd = HostArray(Y)
    odd.__cuda_array_interface__["data"] = (raw.ctypes.data | 1, False)
    masked = HostArray(Y)
    masked.__cuda_array_interface__["mask"] = odd
    for array, words in [
        (odd, "aligned to its 2-byte"),
        (masked, "masked"),
        (HostArray(Y[::-1]), "positive"),
    ]:
        with pytest.raises(UsageError, match=words):
            loaded(case()).score_map(array)


def test_the_wrong_call_for_a_scorer_says_which_to_make() -> None:
    z = HostArray(np.zeros((3, 37), np.float16))
    with pytest.raises(UsageError, match="the fused kernel needs the map"):
        loaded(case()).score(z)
    probing = loaded(case(positions=0, probes=5))
    with pytest.raises(UsageError, match="K = 5 probes; got t missing"):
        probing.score(z)
    with pytest.raises(UsageError, match=r"t must be \[5, 3, 37\]; got \[4, 3, 37\]"):
        probing.score(z, HostArray(np.zeros((4, 3, 37), np.float16)))
    with pytest.raises(UsageError, match="one dtype"):
        probing.score(z, HostArray(np.zeros((5, 3, 37), np.float32)))
    with pytest.raises(UsageError, match="no closed form"):
        probing.score_map(HostArray(Y))
    with pytest.raises(UsageError, match="logits must not be given"):
        loaded(case()).score_map(HostArray(Y), logits=z)
    with pytest.raises(UsageError, match="head is external: pass logits"):
        loaded(case(head="external")).score_map(HostArray(Y))
    with pytest.raises(UsageError, match="layout must be nchw or nhwc; got 'chw'"):
        loaded(case()).score_map(HostArray(Y), layout="chw")
    scorer = loaded(case())
    with pytest.raises(UsageError, match=r"room for 3 verdicts.*got one for 2; make it with room\(3\)"):
        scorer.score_map(HostArray(Y), into=scorer.room(2))
