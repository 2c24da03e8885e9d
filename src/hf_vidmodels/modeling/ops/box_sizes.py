"""Small, medium and large objects by the area of their box (MAL; bounds as COCO has them for masks)."""

from collections.abc import Sequence

import torch

# The official test of size buckets ends here; only `strict` keeps it.
LARGEST_STRICT_AREA = 1e10


def size_buckets(areas: torch.Tensor, bounds: Sequence[float], strict: bool = False) -> torch.Tensor:
    """Tell small (0), medium (1) and large (2) objects by the area of their box.

    Args:
        areas: (B,) in square pixels.
        bounds: greatest area of a small and of a medium object.
        strict: areas that equal a bound, or are 1e10 and more, get -1 (official forward pass).

    Returns:
        (B,) int64.
    """
    edges = torch.tensor(list(bounds), dtype=areas.dtype, device=areas.device)
    buckets = torch.bucketize(areas, edges)
    if strict:
        buckets[(areas[:, None] == edges).any(1) | (areas >= LARGEST_STRICT_AREA)] = -1
    return buckets
