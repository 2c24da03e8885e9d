"""From attention maps to heat maps of the picture's size, as the official display draws them."""

import torch


def resize_maps(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Enlarge (..., h, w) maps to `size` bilinearly; beyond the outer cells' centres the map is mirrored at them."""
    rows = _interpolation(maps.shape[-2], size[0]).to(maps)
    columns = _interpolation(maps.shape[-1], size[1]).to(maps)
    return rows @ maps @ columns.T


def scale_maps(maps: torch.Tensor) -> torch.Tensor:
    """Scale each of (..., h, w) maps to [0, 1] by its own minimum and maximum; a constant map becomes zero."""
    lowest = maps.amin((-2, -1), keepdim=True)
    span = maps.amax((-2, -1), keepdim=True) - lowest
    return torch.where(span > 0, (maps - lowest) / span.clamp_min(torch.finfo(maps.dtype).tiny), 0.0)


def make_heatmaps(attention: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize attention (..., h, w) to pictures of `size` (H, W) and scale it to [0, 1]."""
    return scale_maps(resize_maps(attention.float(), size))


def _interpolation(length: int, new_length: int) -> torch.Tensor:
    """Make the (new_length, length) matrix of linear interpolation between cell centres."""
    positions = (torch.arange(new_length, dtype=torch.float64) + 0.5) * length / new_length - 0.5
    last = length - 1
    positions = (last - (last - positions.abs()).abs()).clamp(0, last)
    lower = positions.floor().long().clamp(max=max(last - 1, 0))
    share = positions - lower
    matrix = torch.zeros(new_length, length, dtype=torch.float64)
    matrix.scatter_add_(1, lower[:, None], (1 - share)[:, None])
    matrix.scatter_add_(1, (lower + 1).clamp(max=last)[:, None], share[:, None])
    return matrix
