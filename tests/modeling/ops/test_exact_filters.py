"""The exact minimiser on the sphere, its hard case included."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_vidmodels.modeling.ops.exact_filters import QuadraticObjective, minimize_linear, minimize_on_sphere


def objective(hessian, slope):
    return QuadraticObjective(hessian, slope, torch.zeros(len(slope), dtype=torch.float64))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(1, 9))
def test_no_random_filter_is_better(seed, cells, rank):
    generator = torch.Generator().manual_seed(seed)
    factors = torch.randn(3, rank, cells, generator=generator, dtype=torch.float64)
    hessian = factors.transpose(1, 2) @ factors
    slope = torch.randn(3, cells, generator=generator, dtype=torch.float64)
    problems = objective(hessian, slope)
    found = problems.minimize()
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3, dtype=torch.float64))
    others = torch.randn(500, 3, cells, generator=generator, dtype=torch.float64)
    others = torch.cat([others, found + 1e-3 * others])
    others /= others.norm(dim=-1, keepdim=True)
    values = torch.stack([problems.value(other) for other in others])
    assert (problems.value(found) <= values.min(0).values + 1e-9).all()


def test_the_hard_case_takes_the_missing_length_from_the_lowest_eigenvector():
    hessian = torch.diag(torch.tensor([1.0, 3.0, 5.0], dtype=torch.float64))[None]
    slope = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    found = minimize_on_sphere(hessian, slope)
    # The stationary point along the second axis is 1 / (3 - 1); the rest of unit length goes along the first.
    torch.testing.assert_close(found, torch.tensor([[0.75**0.5, 0.5, 0.0]], dtype=torch.float64))


def test_a_problem_without_slope_takes_the_lowest_eigenvector():
    hessian = torch.diag(torch.tensor([4.0, 2.0, 9.0], dtype=torch.float64))[None]
    found = minimize_on_sphere(hessian, torch.zeros(1, 3, dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64))


def test_a_slope_of_zero_gives_the_uniform_filter():
    found = minimize_linear(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 4.0]], dtype=torch.float64))
    expected = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.0, 0.6, 0.0, 0.8]], dtype=torch.float64)
    torch.testing.assert_close(found, expected)
