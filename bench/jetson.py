"""The Jetson modules of the kernel's performance model; each value with where it comes from."""

from dataclasses import dataclass

DATASHEET, ASSUMED = "datasheet", "assumed"


@dataclass(frozen=True)
class Value:
    """A number and its source: ``datasheet`` (or a device query), or ``assumed`` (no citation at hand)."""

    value: float
    source: str


@dataclass(frozen=True)
class Module:
    """A device.

    Attributes:
        name: of the module and its power mode.
        multiprocessors: SMs.
        clock_ghz: of the GPU, its largest.
        dram_gb_s: bandwidth of the memory; where two values circulate the higher, for a floor.
        tensor_flop_per_clock: dense fp16, of one SM; 0: the kernel takes its FMA path there.
        architecture: of its GPU.
    """

    name: str
    multiprocessors: Value
    clock_ghz: Value
    dram_gb_s: Value
    tensor_flop_per_clock: Value
    architecture: str = "sm_87"

    @property
    def l2_gb_s_of_one(self) -> float:
        """What one SM can read: 64 bytes a clock, assumed for all."""
        return L2_BYTES_PER_CLOCK * self.clock_ghz.value

    @property
    def fp32_gflops_of_one(self) -> float:
        """128 lanes (64 on Xavier), two operations a clock."""
        lanes = 64 if self.tensor_flop_per_clock.value == 0 else 128
        return 2 * lanes * self.clock_ghz.value


L2_BYTES_PER_CLOCK = 64
LAUNCH_US = 5.0  # one launch, 5 to 20 on Jetson; assumed
LAYER_US = 0.7  # one dependent step that waits for memory; assumed

_ORIN_TENSOR = Value(2048, ASSUMED)  # 170 sparse INT8 TOPS of AGX Orin / 4, by SM and clock
MODULES = (
    Module(
        "Xavier NX",
        Value(6, DATASHEET),
        Value(1.1, DATASHEET),
        Value(59.7, ASSUMED),
        Value(0, DATASHEET),
        "sm_72",
    ),
    Module(
        "Orin Nano 8GB Super",
        Value(8, DATASHEET),
        Value(1.02, DATASHEET),
        Value(102.4, DATASHEET),
        _ORIN_TENSOR,
    ),
    Module("Orin NX 16GB", Value(8, DATASHEET), Value(0.918, DATASHEET), Value(102.4, ASSUMED), _ORIN_TENSOR),
    Module("AGX Orin 64GB", Value(16, DATASHEET), Value(1.3, ASSUMED), Value(204.8, ASSUMED), _ORIN_TENSOR),
    Module(
        "Thor T5000",
        Value(20, DATASHEET),
        Value(1.575, DATASHEET),
        Value(273.0, DATASHEET),
        Value(8192, ASSUMED),
        "sm_110",
    ),
)
