"""The registry of tangent rules, one per operator.

How to add a rule
-----------------
A rule is one function in any file of this folder, and one test in ``tests/export/tangents/``::

    @rule("Sin")
    def sine(ctx, node, tangents):
        (x,), (t,) = node.inputs, tangents
        return [ctx.times(t, ctx.op("Cos", x))]

- ``tangents`` follows ``node.inputs``: the tangent of each, None where it does not depend on the cut; at
  least one is a tensor. The result follows ``node.outputs``; None says that an output does not depend.
- The tangent of ``x`` with shape S has the shape ``[K, *S]``: axes count one more. It may be 1 where ``x``
  has its batch ("narrow", as directions are the same for every sample): a rule that does more than broadcast
  asks for ``ctx.full(t, x)``.
- ``node.inputs`` and ``node.outputs`` are the primal tensors, and may be used in the formula. A mask that can
  be read from the output should be, so that a runtime can still fuse the node with the one before it.
- ``ctx.times`` and ``ctx.plus`` join what is elementwise, so that a chain of steps costs one product of the
  size of all directions; ``ctx.merged`` and ``ctx.split`` put the directions into the batch of a convolution
  and take them out again.
- At a kink the derivative is what torch's autograd gives.

The test: ``check_rule`` of ``tests/export/tangents/oracle.py`` compares any one-node graph with central
differences in float64.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeosr.export.tangents.context import RuleContext

Rule: TypeAlias = "Callable[[RuleContext, ir.Node, list[ir.Value | None]], list[ir.Value | None]]"

RULES: dict[str, Rule] = {}


def rule(*op_types: str) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of these standard operators."""

    def register(function: Rule) -> Rule:
        for op_type in op_types:
            assert op_type not in RULES, f"two rules for {op_type}"
            RULES[op_type] = function
        return function

    return register


def load_rules() -> dict[str, Rule]:
    """Return every rule: importing a file of this folder registers its rules."""
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
    return RULES
