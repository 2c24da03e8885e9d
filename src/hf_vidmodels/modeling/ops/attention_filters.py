"""The constrained spatial filters of L2-CAF: from unconstrained parameters to the filter that scales a feature map.

The constraint is a re-parametrisation: parameters are free, and the filter is normalised inside the forward pass, so
that gradients pass through the normalisation. From facts about the official releases, see `configuration_l2_caf`.
"""

import torch

# The released Gaussian is defined on this grid only: cells -3..3 in both directions.
GAUSS_SIZE = 7


def initial_parameters(
    filter_type: str, init: str, num_images: int, frames: int, size: tuple[int, int], seed: int
) -> torch.Tensor:
    """Draw the start of the parameters of each image, float32 on the CPU.

    Args:
        filter_type: `"l2norm"`, `"softmax"` or `"gauss"`.
        init: `"normal"` or `"ones"`.
        num_images: images B.
        frames: filters T of one problem, 1 for images.
        size: height and width (h, w) of the feature map.
        seed: of the draw. All images start from the same one, so that a start does not depend on the batch.

    Returns:
        (B, T, h, w), for `"gauss"` the mean (x, y) as (B, T, 2).

    Raises:
        ValueError: for a Gaussian on a map that is not 7 x 7.
    """
    if filter_type == "gauss" and tuple(size) != (GAUSS_SIZE, GAUSS_SIZE):
        raise ValueError(
            f"filter_type 'gauss' is defined on {GAUSS_SIZE} x {GAUSS_SIZE} maps only, this layer gives "
            f"{size[0]} x {size[1]}; use 'l2norm' or 'softmax'"
        )
    shape = (frames, 2) if filter_type == "gauss" else (frames, *size)
    if init == "ones":
        return torch.ones(num_images, *shape)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).expand(num_images, *shape).contiguous()


def constrain(parameters: torch.Tensor, filter_type: str, eps: float = 1e-12) -> torch.Tensor:
    """Turn free parameters into filters.

    Args:
        parameters: (..., h, w), for `"gauss"` (..., 2).
        filter_type: `"l2norm"` (unit L2 norm over all cells), `"softmax"` (over all cells) or `"gauss"` (isotropic,
            unit covariance, sum 1).
        eps: lower bound of the norm.

    Returns:
        (..., h, w) filters; differentiable.
    """
    if filter_type == "l2norm":
        return parameters / parameters.flatten(-2).norm(dim=-1).clamp_min(eps)[..., None, None]
    if filter_type == "softmax":
        return parameters.flatten(-2).softmax(-1).view_as(parameters)
    cells = torch.arange(GAUSS_SIZE, device=parameters.device, dtype=parameters.dtype) - GAUSS_SIZE // 2
    squared_x = (cells[None, :] - parameters[..., 0, None, None]) ** 2
    squared_y = (cells[:, None] - parameters[..., 1, None, None]) ** 2
    density = (-(squared_x + squared_y) / 2).exp()
    return density / density.sum((-2, -1), keepdim=True)


def apply_sign(filters: torch.Tensor, sign: str) -> torch.Tensor:
    """Make attention of constrained filters: absolute values, positive cells only, or as they are."""
    if sign == "abs":
        return filters.abs()
    return filters.clamp_min(0) if sign == "positive" else filters
