"""Run the runner once, then let its kernel read where no memory is; print what a caller gets, twice."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from stand_in import stand_in

from edgeosr.bench.gpu_rung import networks, torch_device
from edgeosr.errors import DeviceError
from edgeosr.kernels.driver.driver import open_driver
from edgeosr.kernels.fused_score import FusedScorer

NOWHERE = 4096  # an address that no allocation has


class Nowhere:
    """A map of ``array``'s shape where no memory is."""

    def __init__(self, array: Any):
        self.__cuda_array_interface__ = {**array.__cuda_array_interface__, "data": (NOWHERE, False)}


class WildScorer(FusedScorer):
    """Reads nowhere once it is ``wild``."""

    wild = False

    def score_map(self, y: Any, **options: Any) -> Any:
        return super().score_map(Nowhere(y) if self.wild else y, **options)


def main() -> int:
    small = os.environ.get("EDGEOSR_GPU_SMALL") == "1"
    network = (networks.SMALL_NETWORKS if small else networks.NETWORKS)[0]
    driver = open_driver()
    driver.device(None)
    found = stand_in(driver, torch_device.open_torch(driver), network, scorer_type=WildScorer)
    frames = np.zeros((2, network.side, network.side, 3), np.uint8)
    found.runner.run(frames[:1], bgr=False, threshold=0.0)
    WildScorer.wild = True
    words = []
    for name in ("lost", "again"):
        try:
            found.runner.run(frames, bgr=False, threshold=0.0)  # another shape: nothing captured serves it
        except DeviceError as error:
            print(f"{name}: {type(error).__name__}")
            words.append(str(error))
    print("\n".join(words), flush=True)
    # torch would fail on its way out: its memory is on the lost device.
    os._exit(0)


if __name__ == "__main__":
    main()
