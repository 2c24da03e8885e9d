"""How well every place of a map matches places around it in the next frame.

That motion is learned from such matches is our reconstruction of hierarchical contrastive motion learning (Yang et al.,
BMVC 2021); cost volumes of this form are those of optical-flow networks.
"""

import torch
from torch import nn

# Least length that a vector is divided by.
EPS = 1e-6


def cost_volume(maps: torch.Tensor, max_displacement: int, stride: int = 1, similarity: str = "dot") -> torch.Tensor:
    """Compare every vector of a map with those around its place in the next frame.

    Rows are compared as matrix products, one for every vertical offset: of those a band is kept.

    Args:
        maps: (B, C, T, H, W).
        max_displacement: greatest offset d, in cells.
        stride: s, from one offset to the next; divides d.
        similarity: `"dot"`, the inner product over C, or `"cosine"`.

    Returns:
        (B, n * n, T, H, W) with n = 2 d / s + 1; channel i * n + j is of the offset (dy, dx) = (i s - d, j s - d). 0
        where the other place lies outside. The last frame is compared with itself.
    """
    width, size = maps.shape[-1], 2 * max_displacement + 1
    rows = maps.permute(0, 2, 3, 4, 1)
    rows = nn.functional.normalize(rows, dim=-1, eps=EPS) if similarity == "cosine" else rows / maps.shape[1] ** 0.5
    following = torch.cat((rows[:, 1:], rows[:, -1:]), dim=1)
    margin = (max_displacement, max_displacement)
    padded = nn.functional.pad(following, (0, 0, *margin, *margin))
    queries = rows.flatten(0, 2)
    bands = []
    for top in range(0, size, stride):
        keys = padded[:, :, top : top + rows.shape[2]].flatten(0, 2)
        scores = torch.bmm(queries, keys.transpose(1, 2))
        # Row x of (W, W + 2 d) scores has its offsets at x to x + 2 d. With one cell more to a row, rows of the same
        # numbers begin one cell earlier each, and the offsets stand in columns.
        skewed = nn.functional.pad(scores.flatten(1), (0, width)).unflatten(1, (width, width + size))
        bands.append(skewed[:, :, :size:stride])
    volume = torch.stack(bands, dim=1).unflatten(0, rows.shape[:3])
    return volume.permute(0, 3, 5, 1, 2, 4).flatten(1, 2)
