"""Top-k choices, hard and relaxed: the perturbed-maximum estimator of Berthet et al. ("Learning with Differentiable
Perturbed Optimizers", NeurIPS 2020, arXiv 2002.08676) for indicators of the k largest scores.

Indicators keep the order of positions: row j belongs to the j-th smallest of the k chosen positions. The one-hot
tensor (rows, samples, k, d) is never built: choices stay integers that are counted by scatter-adds.
"""

from typing import Any

import torch

# Below it the noise is taken as absent and no gradient flows, as in the official STTS code.
SMALLEST_SIGMA = 1e-20


def topk_indices(scores: torch.Tensor, k: int) -> torch.Tensor:
    """Choose the k largest entries of the last axis, named in ascending order of position.

    Args:
        scores: (..., d).
        k: how many, 1 to d.

    Returns:
        (..., k) int64; of equal scores the one at the lower position is chosen.
    """
    order = scores.argsort(dim=-1, descending=True, stable=True)
    return order[..., :k].sort(dim=-1).values


def one_hot_indicators(indices: torch.Tensor, size: int, dtype: torch.dtype) -> torch.Tensor:
    """Write (..., k) choices as (..., k, size) rows with a single 1."""
    indicators = torch.zeros(*indices.shape, size, dtype=dtype, device=indices.device)
    return indicators.scatter_(-1, indices[..., None], 1.0)


def perturbed_topk(
    scores: torch.Tensor,
    k: int,
    sigma: float,
    *,
    num_samples: int = 500,
    gradient: str = "diagonal",
    variance_reduction: bool = False,
    noise: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Average the indicators of the k largest entries over Gaussian perturbations of the scores.

    The gradient with respect to the scores is that of the perturbed-maximum estimator or, by default, its diagonal as
    the official STTS code has it: entry i of the scores then answers only for column i of the indicators.

    Args:
        scores: (rows, d); half precision is raised to float32, also under autocast.
        k: how many entries are chosen, 1 to d.
        sigma: deviation of the perturbation, at least 0; up to 1e-20 the result is hard and the gradient zero.
        num_samples: perturbations per row, at least 1; not used with `noise`.
        gradient: `"diagonal"` or `"full"`.
        variance_reduction: subtract the choice without noise inside the gradient, which leaves its expectation as it
            is and keeps it bounded as sigma falls.
        noise: (rows, samples, d) standard normal values to use.
        generator: draws the noise when none is given; by default torch's own of the device.

    Returns:
        (rows, k, d) float32 (float64 for float64 scores); each row of each matrix sums to 1.

    Raises:
        ValueError: for k outside 1..d, a negative sigma, no sample, an unknown gradient or noise of another shape.
    """
    rows, size = scores.shape
    if not 1 <= k <= size:
        raise ValueError(f"k must be between 1 and the {size} entries there are, got {k}")
    if not sigma >= 0:
        raise ValueError(f"sigma must be 0 or more, got {sigma}")
    if gradient not in ("diagonal", "full"):
        raise ValueError(f"gradient must be 'diagonal' or 'full', got {gradient!r}")
    if scores.dtype not in (torch.float32, torch.float64):
        scores = scores.float()
    if noise is None:
        if num_samples < 1:
            raise ValueError(f"num_samples must be 1 or more, got {num_samples}")
        noise = torch.randn(rows, num_samples, size, generator=generator, dtype=scores.dtype, device=scores.device)
    elif noise.ndim != 3 or noise.shape[::2] != scores.shape or not noise.shape[1]:
        raise ValueError(f"noise must have shape ({rows}, samples, {size}), got {tuple(noise.shape)}")
    noise = noise.to(scores)
    return _PerturbedTopK.apply(scores, noise, k, float(sigma), gradient == "full", variance_reduction)


class _PerturbedTopK(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scores: torch.Tensor,
        noise: torch.Tensor,
        k: int,
        sigma: float,
        is_full: bool,
        variance_reduction: bool,
    ) -> torch.Tensor:
        num_samples, size = noise.shape[1:]
        ctx.scale = 0.0 if sigma <= SMALLEST_SIGMA else 1 / (num_samples * sigma)
        ctx.is_full, ctx.variance_reduction = is_full, variance_reduction
        hard = topk_indices(scores, k)
        if not ctx.scale:
            return one_hot_indicators(hard, size, scores.dtype)
        perturbed = torch.add(scores[:, None], noise, alpha=sigma)
        indices = perturbed.topk(k, dim=-1, sorted=False).indices.sort(dim=-1).values
        positions = indices.transpose(1, 2)
        counts = scores.new_zeros(len(scores), k, size)
        counts.scatter_add_(-1, positions, scores.new_ones(()).expand_as(positions))
        if is_full:
            ctx.save_for_backward(noise, indices, hard)
        elif ctx.needs_input_grad[0]:
            # What the upstream gradient is multiplied with is known now, so noise and choices need not be kept.
            weights = _noise_of_choices(noise, indices)
            if variance_reduction:
                # Summed in the same way, so that both cancel to the last bit where all samples agree.
                weights -= _noise_of_choices(noise, hard[:, None].expand_as(indices))
            ctx.save_for_backward(weights.mul_(ctx.scale))
        return counts.div_(num_samples)

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        if not ctx.scale:
            grad_scores = grad_output.new_zeros(grad_output.shape[0], grad_output.shape[2])
        elif ctx.is_full:
            noise, indices, hard = ctx.saved_tensors
            responses = grad_output.gather(-1, indices.transpose(1, 2)).sum(1)
            if ctx.variance_reduction:
                responses = responses - grad_output.gather(-1, hard[..., None]).sum(1)
            grad_scores = torch.einsum("rs,rsd->rd", responses, noise) * ctx.scale
        else:
            (weights,) = ctx.saved_tensors
            grad_scores = (grad_output * weights).sum(1)
        return grad_scores, None, None, None, None, None


def _noise_of_choices(noise: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Sum the noise (rows, samples, d) of the chosen entries (rows, samples, k) over the samples: (rows, k, d)."""
    sums = noise.new_zeros(len(noise), indices.shape[-1], noise.shape[-1])
    return sums.scatter_add_(-1, indices.transpose(1, 2), noise.gather(-1, indices).transpose(1, 2))
