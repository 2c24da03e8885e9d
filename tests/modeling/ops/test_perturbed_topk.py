import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_vidmodels.modeling.ops.perturbed_topk import perturbed_topk, topk_indices
from stts_cases import load_operators


def random_case(rows=3, samples=40, size=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(rows, size, generator=generator)
    return scores, torch.randn(rows, samples, size, generator=generator)


def one_hot_samples(scores, noise, k, sigma):
    """(rows, samples, k, d): the choices of every sample, as the formula has them."""
    indices = (scores[:, None] + sigma * noise).topk(k, dim=-1).indices.sort(dim=-1).values
    return torch.nn.functional.one_hot(indices, scores.shape[-1]).to(scores.dtype)


def gradient_of(scores, k, sigma, upstream, **settings):
    scores = scores.clone().requires_grad_()
    indicators = perturbed_topk(scores, k, sigma, **settings)
    (indicators * upstream).sum().backward()
    return indicators.detach(), scores.grad


@pytest.mark.parametrize("name", ["sigma0", "sigma1", "sigma_zero"])
def test_indicators_and_gradients_are_the_official_ones(name):
    operators, io = load_operators()
    sigma = {"sigma0": 0, "sigma1": 1}.get(name)
    sigma = 0.0 if sigma is None else operators["topk"]["sigmas"][sigma]
    k = operators["topk"]["k"]
    indicators, gradient = gradient_of(io["topk.scores"], k, sigma, io["topk.grad_output"], noise=io["topk.noise"])
    assert torch.equal(indicators, io[f"topk.{name}.indicators"])
    torch.testing.assert_close(gradient, io[f"topk.{name}.grad_input"], atol=1e-5, rtol=1e-5)
    assert torch.equal(topk_indices(io["topk.scores"], k), io["topk.hard_indices"])


@pytest.mark.parametrize("variance_reduction", [False, True])
@pytest.mark.parametrize("gradient", ["diagonal", "full"])
def test_the_gradient_is_that_of_the_written_formula(gradient, variance_reduction):
    scores, noise = random_case()
    upstream = torch.randn(3, 2, 7, generator=torch.Generator().manual_seed(1))
    samples = one_hot_samples(scores, noise, 2, 0.3)
    indicators, found = gradient_of(
        scores, 2, 0.3, upstream, noise=noise, gradient=gradient, variance_reduction=variance_reduction
    )
    torch.testing.assert_close(indicators, samples.mean(1))
    if variance_reduction:
        samples = samples - one_hot_samples(scores, torch.zeros_like(noise), 2, 0.3)
    if gradient == "diagonal":
        expected = torch.einsum("rji,rnji,rni->ri", upstream, samples, noise) / (40 * 0.3)
    else:
        expected = torch.einsum("rji,rnji,rnm->rm", upstream, samples, noise) / (40 * 0.3)
    torch.testing.assert_close(found, expected)


def test_variance_reduction_keeps_the_expectation():
    scores, noise = random_case(rows=1, samples=200_000, size=4)
    upstream = torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(2))
    plain, reduced = (
        gradient_of(scores, 2, 0.2, upstream, noise=noise, gradient="full", variance_reduction=reduction)[1]
        for reduction in (False, True)
    )
    torch.testing.assert_close(plain, reduced, atol=0.1, rtol=0.05)


def test_variance_reduction_bounds_the_gradient_of_a_settled_choice():
    scores, noise = torch.linspace(0, 1, 8).expand(16, 8), random_case(rows=16, samples=500, size=8)[1]
    upstream = torch.randn(16, 7, 8, generator=torch.Generator().manual_seed(3))
    plain = gradient_of(scores, 7, 1e-4, upstream, noise=noise)[1].norm()
    reduced = gradient_of(scores, 7, 1e-4, upstream, noise=noise, variance_reduction=True)[1].norm()
    assert plain > 500
    assert reduced == 0


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 9), data=st.data(), sigma=st.floats(0, 2))
def test_every_row_is_a_distribution_over_positions_in_order(size, data, sigma):
    k = data.draw(st.integers(1, size))
    scores, noise = random_case(size=size)
    indicators = perturbed_topk(scores, k, sigma, noise=noise)
    torch.testing.assert_close(indicators.sum(-1), torch.ones(3, k))
    means = (indicators * torch.arange(size)).sum(-1)
    assert (means.diff(dim=-1) >= 1 - 1e-4).all()
    torch.testing.assert_close(indicators.sum((1, 2)), torch.full((3,), float(k)))


def test_without_noise_the_choice_is_hard_and_gives_no_gradient():
    scores, _ = random_case()
    indicators, gradient = gradient_of(scores, 3, 0.0, torch.ones(3, 3, 7))
    assert torch.equal(indicators.argmax(-1), topk_indices(scores, 3))
    assert set(indicators.unique().tolist()) == {0.0, 1.0}
    assert not gradient.any()


def test_of_equal_scores_the_lower_position_wins():
    assert topk_indices(torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0]]), 2).tolist() == [[1, 2]]
    assert topk_indices(torch.zeros(1, 300), 4).tolist() == [[0, 1, 2, 3]]


def test_a_generator_or_the_noise_decides_the_result():
    scores, noise = random_case()
    drawn = [
        perturbed_topk(scores, 3, 0.5, generator=torch.Generator().manual_seed(5), num_samples=30) for _ in range(2)
    ]
    assert torch.equal(*drawn)
    assert not torch.equal(drawn[0], perturbed_topk(scores, 3, 0.5, num_samples=30))
    given = [perturbed_topk(scores, 3, 0.5, noise=noise) for _ in range(2)]
    assert torch.equal(*given)


def test_half_precision_is_raised_also_under_autocast():
    scores, noise = random_case()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        indicators, gradient = gradient_of(scores.bfloat16(), 3, 0.5, torch.ones(3, 3, 7), noise=noise)
    assert indicators.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    assert torch.equal(indicators, perturbed_topk(scores.bfloat16().float(), 3, 0.5, noise=noise))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 8}, "k must be between 1 and the 7 entries there are, got 8"),
        ({"k": 0}, "k must be between 1 and the 7 entries there are, got 0"),
        ({"sigma": -0.1}, "sigma must be 0 or more, got -0.1"),
        ({"num_samples": 0}, "num_samples must be 1 or more, got 0"),
        ({"gradient": "half"}, "gradient must be 'diagonal' or 'full', got 'half'"),
        ({"noise": torch.zeros(3, 5, 6)}, r"noise must have shape \(3, samples, 7\), got \(3, 5, 6\)"),
    ],
)
def test_what_does_not_fit_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        perturbed_topk(**({"scores": random_case()[0], "k": 2, "sigma": 0.1} | arguments))
