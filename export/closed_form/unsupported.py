"""How the closed form says where it stops."""

from typing import TYPE_CHECKING

from edgeosr.errors import NoClosedFormError
from edgeosr.export.graph.reading import describe_value

if TYPE_CHECKING:
    import onnx_ir as ir


def unsupported(value: "ir.Value", problem: str) -> NoClosedFormError:
    """Make the error for a graph whose closed form stops at the node that makes ``value``."""
    return NoClosedFormError([f"{describe_value(value)}: {problem}"])
