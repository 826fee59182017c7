"""All that the lanes of a launch have: registers, memory, mail."""

from edgeosr.kernels.counting.mail import Mail
from edgeosr.kernels.counting.memory import Memory
from edgeosr.kernels.counting.operands import Registers


class State(Registers):
    """Registers with their memory, and what clusters share."""

    memory: Memory
    mail: Mail
