"""The tests of this folder need a card; without one each is listed as not run, with the reason.

``make gpu`` runs them on a card, ``python tests/gpu/dry_run.py`` on the doubles of dry_machine.py.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from edgeosr.bench.gpu_rung import networks, torch_device
from edgeosr.errors import DeviceError, MissingDependencyError, UsageError
from edgeosr.kernels.driver.driver import Driver, open_driver


@pytest.fixture(scope="session")
def driver() -> Driver:
    try:
        found = open_driver("the tests marked gpu")
        found.device(None)
    except (DeviceError, MissingDependencyError) as error:
        pytest.skip(f"not run without a card: {error}")
    return found


@pytest.fixture(scope="session")
def device(driver: Driver) -> Any:
    try:
        return torch_device.open_torch(driver)
    except UsageError as error:
        pytest.skip(f"not run without a card: {error}")


@pytest.fixture(scope="session")
def small() -> bool:
    """Small cases: the card is made of doubles."""
    return os.environ.get("EDGEOSR_GPU_SMALL") == "1"


@pytest.fixture(scope="session", params=[0, 1], ids=["resnet18", "efficientnet-lite0"])
def stand_in_engine(
    request: pytest.FixtureRequest, driver: Driver, device: Any, small: bool
) -> Iterator[Any]:
    from stand_in import stand_in

    network = (networks.SMALL_NETWORKS if small else networks.NETWORKS)[request.param]
    found = stand_in(driver, device, network, **({"most": 2} if small else {}))
    yield found
    found.runner.close()
