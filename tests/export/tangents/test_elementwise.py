"""Arithmetic with broadcasting, against central differences."""

import numpy as np
import pytest
from torch import maximum, minimum, special

# (shape of a, shape of b, which vary, which of them have the batch in front)
BROADCASTS = {
    "both vary": ((2, 3, 4), (2, 3, 4), (0, 1), (0, 1)),
    "constant on the right": ((2, 3, 4), (3, 1), (0,), (0,)),
    "constant on the left": ((3, 1), (2, 3, 4), (1,), (1,)),
    "each spans the other": ((2, 1, 4), (2, 3, 1), (0, 1), (0, 1)),
    "widened by a constant": ((2, 1, 4), (1, 3, 1), (0,), (0,)),
    "lower rank varies": ((2, 3, 4), (3, 1), (0, 1), (0,)),
    "scalar constant": ((2, 3), (), (0,), (0,)),
    "rank raised by a constant": ((2, 4), (3, 2, 4), (0,), ()),
}


def randoms(seed, *shapes, positive=False):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape) for shape in shapes]
    return [np.abs(array) + 0.5 for array in arrays] if positive else arrays


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Sum"])
@pytest.mark.parametrize("case", BROADCASTS)
def test_arithmetic_broadcasts_as_the_operator_does(check_rule, op_type, case):
    first, second, varying, batched = BROADCASTS[case]
    inputs = randoms(len(case), first, second, positive=op_type in ("Div", "Pow"))
    check_rule(op_type, inputs, varying=varying, batched=batched)


@pytest.mark.parametrize("op_type", ["Sum", "Min", "Max"])
@pytest.mark.parametrize("varying", [(0,), (0, 2), (0, 1, 2)])
def test_variadic_operators_take_any_number_of_operands(check_rule, op_type, varying):
    inputs = randoms(3, (2, 3), (2, 3), (2, 1))
    check_rule(op_type, inputs, varying=varying)


@pytest.mark.parametrize("op_type", ["Add", "Mul", "Div", "Max"])
def test_a_tensor_can_meet_itself(check_rule, op_type):
    # One operand given twice is written as an operand that stays in step with the other.
    (x,) = randoms(4, (2, 5), positive=True)
    check_rule(op_type, [x, x + 0.25], varying=(0, 1))


@pytest.mark.parametrize(
    "exponent", [np.array(2.0), np.array(3), np.array([3.0, 0.0, 2.0]), np.array([2.0]), np.array(1.0)]
)
def test_constant_exponents_of_any_sign_of_base(check_rule, exponent):
    check_rule("Pow", [*randoms(5, (2, 3)), exponent])


def test_powers_of_zero_have_finite_tangents(check_rule):
    base = np.array([[0.0, 1.5], [2.0, 0.0]])
    check_rule("Pow", [base, np.array(3.0)], tolerance=1e-6)


@pytest.mark.parametrize(("op_type", "function"), [("Max", maximum), ("Min", minimum)])
def test_equal_operands_share_the_tangent_as_in_torch(check_against_torch, op_type, function):
    a = np.array([[1.0, 2.0, 3.0]])
    check_against_torch(op_type, [a, np.array([[1.0, 3.0, 2.0]])], function, varying=(0, 1))


@pytest.mark.parametrize(
    ("shapes", "varying"),
    [
        (((2, 3), (2, 3), (2, 3)), (1, 2)),
        (((2, 3), (2, 3), ()), (1,)),
        (((2, 3), (), (2, 3)), (2,)),
        (((2, 1, 3), (), (2, 4, 1)), (2,)),
        (((2, 1, 3), (2, 4, 1), (2, 4, 3)), (1, 2)),
    ],
)
def test_where_takes_the_chosen_side(check_rule, shapes, varying):
    condition, one, other = randoms(6, *shapes)
    check_rule("Where", [condition > 0, one, other], varying=varying)


@pytest.mark.parametrize("op_type", ["Neg", "Abs", "Exp", "Sin", "Cos"])
def test_functions_of_any_number(check_rule, op_type):
    check_rule(op_type, randoms(7, (2, 3, 4)))


@pytest.mark.parametrize("op_type", ["Sqrt", "Log", "Reciprocal"])
def test_functions_of_positive_numbers(check_rule, op_type):
    check_rule(op_type, randoms(8, (2, 3, 4), positive=True))


def test_erf_equals_torch(check_against_torch):
    # The reference evaluator's own Erf is single precision: no oracle for differences.
    check_against_torch("Erf", randoms(9, (2, 3, 4)), special.erf)


@pytest.mark.parametrize("opset", [13, 15, 21])
def test_operators_that_need_a_type_find_it_in_every_opset(check_rule, opset):
    inputs = randoms(10, (2, 3), (2, 3), (2, 1))
    check_rule("Max", inputs, varying=(0, 1, 2), opset=opset)
    check_rule("Pow", [inputs[0], np.array([3, 0, 2])], opset=opset)
    check_rule("Relu", inputs[:1], opset=opset)
    check_rule("Clip", [inputs[0], np.array(-0.5), np.array(0.5)], opset=opset)
