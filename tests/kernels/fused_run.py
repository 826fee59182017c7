"""The fused kernel executed on the CPU: a scorer and inputs in, verdicts out, by the product's own plan."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from fused_cases import Case, Inputs
from numpy.typing import NDArray
from simt_build import SHIM
from simt_run import Library, Pointer, Report, ScheduleName, Shape

from edgeosr.kernels.device_verdicts import VERDICT
from edgeosr.kernels.packing import PackedScorer
from edgeosr.kernels.params import FusedScoreParams
from edgeosr.kernels.plan import LaunchPlan, MapShape, TangentShape, plan_launch
from edgeosr.kernels.plan_table import PlanTable

SOURCE = SHIM / "run_fused.cpp"
GUARD = 0xA5


@dataclass
class Launch:
    """A planned launch and its arrays in "device" memory."""

    plan: LaunchPlan
    arrays: dict[str, NDArray[Any]]  # by the name of the pointer in FusedScoreParams
    room: NDArray[np.uint8]  # the verdicts and guard bytes behind them
    flags_before: NDArray[np.uint32] | None = None  # what lies in the verdicts' slots; None: no numbers

    @property
    def shape(self) -> Shape:
        plan = self.plan
        return Shape(plan.blocks, plan.threads, plan.shared_bytes, plan.cluster)

    @property
    def verdicts(self) -> NDArray[Any]:
        """The verdicts; an error if a byte behind them was written."""
        batch = self.plan.params.batch
        assert (self.room[batch * VERDICT.itemsize :] == GUARD).all(), (
            "bytes behind the verdicts were written"
        )
        return self.room[: batch * VERDICT.itemsize].view(VERDICT)

    def parameters(self, *, addresses: bool = True) -> bytes:
        params = FusedScoreParams.from_buffer_copy(bytes(self.plan.params))
        params.numbered = self.flags_before is not None
        if addresses:
            for name, array in self.arrays.items():
                setattr(params, name, array.ctypes.data)
        return bytes(params)

    def clear(self) -> None:
        """What the host does before each launch; the workspace's counters are left as they are.

        The rest of the workspace is not a number again: what the launch before left there would be right.
        """
        self.room[: self.plan.params.batch * VERDICT.itemsize] = 0
        if self.flags_before is not None:
            self.verdicts["flags"] = self.flags_before
        self.arrays["workspace"][self.plan.counter_bytes // 4 :] = 0xFFFFFFFF

    def run(self, library: Library, *, schedule: ScheduleName = "shuffled", seed: int = 1) -> NDArray[Any]:
        self.clear()
        library.run(
            self.plan.entry,
            self.parameters(),
            self.shape,
            schedule=schedule,
            seed=seed,
            workspace=self.arrays["workspace"],
        )
        counters = self.arrays["workspace"].view(np.uint8)[: self.plan.counter_bytes]
        assert not counters.any(), "the launch leaves its counters dirty"
        return self.verdicts.copy()

    def counted(self, library: Library) -> Report:
        self.clear()
        return library.counted(
            self.plan.entry, self.parameters(), self.shape, self.arrays, workspace=self.arrays["workspace"]
        )

    def pointers(self) -> list[Pointer]:
        """For a case file. No array is given a better alignment than the kernel asks for."""
        roles: dict[str, Any] = {"workspace": "workspace", "verdicts": "output"}
        loose = ("input", "tangents", "logits")
        return [
            Pointer(
                getattr(FusedScoreParams, name).offset,
                array,
                roles.get(name, "input"),
                array.itemsize if name in loose else 16,
            )
            for name, array in self.arrays.items()
        ]


def prepared(
    case: Case,
    packed: PackedScorer,
    inputs: Inputs,
    *,
    shift: int = 0,
    multiprocessors: int = 0,
    architecture: str = "",
    table: PlanTable | None = None,
) -> Launch:
    """Plan a launch and lay out its arrays.

    Args:
        case: layout and dtypes.
        packed: the scorer.
        inputs: the batch, which may differ from the case's.
        shift: elements by which inputs miss a multiple of 16 bytes.
        multiprocessors: of the device that is planned for.
        architecture: of that device; empty: not known, and no clusters.
        table: of plans.
    """
    if inputs.map is not None:
        batch, _, height, width = inputs.map.shape
        layout = "nhwc" if case.channels_last else "nchw"
        shape: MapShape | TangentShape = MapShape(
            height=height, width=width, layout=layout, half=case.half_input
        )
        first = inputs.map.transpose(0, 2, 3, 1) if case.channels_last else inputs.map
    else:
        assert inputs.embedding is not None
        batch = len(inputs.embedding)
        shape = TangentShape(probes=case.probes, half=case.half_input)
        first = inputs.embedding
    plan = plan_launch(
        packed, shape, batch, multiprocessors=multiprocessors, architecture=architecture, table=table
    )
    arrays = {"input": placed(first, shift)}
    if inputs.tangents is not None:
        arrays["tangents"] = placed(inputs.tangents, shift)
    if inputs.logits is not None:
        arrays["logits"] = placed(inputs.logits, shift)
        plan.params.logits_half = inputs.logits.dtype == np.float16
    arrays["scorer"] = placed(np.frombuffer(packed.data, np.uint8))
    workspace = np.full(plan.workspace_bytes // 4, 0xFFFFFFFF, np.uint32)  # not a number
    workspace[: plan.counter_bytes // 4] = 0
    arrays["workspace"] = placed(workspace)
    room = placed(np.full(batch * VERDICT.itemsize + 64, GUARD, np.uint8))
    arrays["verdicts"] = room[: batch * VERDICT.itemsize]
    return Launch(plan, arrays, room)


def placed(array: NDArray[Any], shift: int = 0) -> NDArray[Any]:
    """A contiguous copy that starts ``shift`` elements past a multiple of 256 bytes."""
    flat = np.ascontiguousarray(array).reshape(-1)
    room = np.empty(flat.nbytes + 512, np.uint8)
    start = -room.ctypes.data % 256 + shift * flat.itemsize
    copy = room[start : start + flat.nbytes].view(flat.dtype)
    copy[:] = flat
    return copy
