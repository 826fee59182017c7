"""Products: either side or both may depend on the images, in every form that broadcasting allows."""

import numpy as np
import pytest

# (shape of A, shape of B); the first axis of what varies is the batch where both sides can have one.
BROADCASTS = {
    "matrices": ((3, 4), (4, 5)),
    "rows": ((2, 3, 4), (4, 5)),
    "images by rows": ((2, 3, 2, 4), (4, 5)),
    "a matrix by a stack": ((3, 4), (2, 4, 5)),
    "stacks": ((2, 3, 4), (2, 4, 5)),
    "heads": ((2, 3, 4, 5), (2, 3, 5, 4)),
    "one for all heads": ((2, 1, 4, 5), (2, 3, 5, 4)),
    "fewer axes on the left": ((3, 4, 5), (2, 3, 5, 4)),
    "fewer axes on the right": ((2, 3, 4, 5), (3, 5, 4)),
    "vector by matrix": ((4,), (4, 5)),
    "vector by stack": ((4,), (2, 3, 4, 5)),
    "matrix by vector": ((3, 4), (4,)),
    "stack by vector": ((2, 3, 4, 5), (5,)),
    "vectors": ((4,), (4,)),
}


@pytest.mark.parametrize("varying", [(0,), (1,), (0, 1)], ids=["left", "right", "both"])
@pytest.mark.parametrize("shapes", BROADCASTS.values(), ids=BROADCASTS)
def test_matmul(check_rule, shapes, varying):
    rng = np.random.default_rng(len(shapes[0]))
    # Only the side with more axes has the batch; the other has something else in front.
    batched = [index for index in varying if len(shapes[index]) == max(map(len, shapes)) > 1]
    if shapes[0] == (3, 4) and len(shapes[1]) == 2:
        batched = [0]
    inputs = [rng.standard_normal(shape) for shape in shapes]
    batched = [index for index in batched if index in varying]
    forms = ("full", "narrow") if batched else ("full",)
    check_rule("MatMul", inputs, varying=varying, batched=batched, opset=13, forms=forms)


@pytest.mark.parametrize("varying", [(0,), (1,), (2,), (0, 1), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize(("flip_a", "flip_b"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_gemm(check_rule, flip_a, flip_b, varying):
    rng = np.random.default_rng(flip_a + 2 * flip_b)
    rows, inner, columns = rng.permutation([2, 3, 4])
    a = rng.standard_normal((inner, rows) if flip_a else (rows, inner))
    b = rng.standard_normal((columns, inner) if flip_b else (inner, columns))
    attributes = {"transA": flip_a, "transB": flip_b, "alpha": 0.5, "beta": -1.5}
    shapes = ((columns,), (rows, 1), (rows, columns), (1, columns), ())
    for shape in shapes if varying == (2,) else shapes[sum(varying) : sum(varying) + 1]:
        inputs = [a, b, rng.standard_normal(shape)]
        form = {"varying": varying, "batched": (), "attributes": attributes, "opset": 13}
        check_rule("Gemm", inputs, **form, forms=("full",))


def test_gemm_of_a_batch_without_bias(check_rule):
    rng = np.random.default_rng(0)
    check_rule("Gemm", [rng.standard_normal((3, 4)), rng.standard_normal((4, 2))])
    check_rule("Gemm", [rng.standard_normal((3, 4)), rng.standard_normal((4, 2)), None], opset=26)


@pytest.mark.parametrize("varying", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bhid,bhjd->bhij", ((2, 3, 4, 5), (2, 3, 2, 5))),
        ("bij, bjk -> bik", ((2, 3, 4), (2, 4, 5))),
        ("bij,jk", ((2, 3, 4), (4, 5))),
        ("...ij,...jk->...ik", ((2, 3, 4), (2, 4, 5))),
        ("...ij,jk", ((2, 3, 4), (4, 5))),
        ("bi,bj->bij", ((2, 3), (2, 4))),
        ("bij,bij->b", ((2, 3, 4), (2, 3, 4))),
        ("bic,kc->bki", ((2, 3, 4), (5, 4))),
    ],
)
def test_einsum_of_two(check_rule, equation, shapes, varying):
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(shape) for shape in shapes]
    batched = [index for index in varying if len(shapes[index]) == len(shapes[0])]
    check_rule("Einsum", inputs, varying=varying, batched=batched, attributes={"equation": equation})


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bii->bi", ((2, 3, 3),)),
        ("bij->bji", ((2, 3, 4),)),
        ("bi,bj,bk->bijk", ((2, 3), (2, 4), (2, 2))),
    ],
)
def test_einsum_of_any_number(check_rule, equation, shapes):
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(shape) for shape in shapes]
    check_rule("Einsum", inputs, varying=range(len(shapes)), attributes={"equation": equation})
