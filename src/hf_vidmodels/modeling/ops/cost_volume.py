"""How well every place of a map matches places around it in the next frame.

That motion is learned from such matches is our reconstruction of hierarchical contrastive motion learning (Yang et
al., BMVC 2021); cost volumes of this form are those of optical-flow networks.
"""

import torch
from torch import nn

# Least length that a vector is divided by.
EPS = 1e-6


def cost_volume(maps: torch.Tensor, max_displacement: int, stride: int = 1, similarity: str = "dot") -> torch.Tensor:
    """Compare every vector of a map with those around its place in the next frame.

    A piece of a row is compared with all rows that it may meet by one matrix product, of which a band is kept.

    Args:
        maps: (B, C, T, H, W).
        max_displacement: greatest offset d, in cells.
        stride: s, from one offset to the next; divides d.
        similarity: `"dot"`, the inner product over C, or `"cosine"`.

    Returns:
        (B, n * n, T, H, W) with n = 2 d / s + 1; channel i * n + j is of the offset (dy, dx) = (i s - d, j s - d). 0
        where the other place lies outside. The last frame is compared with itself.
    """
    rows = maps.permute(0, 2, 3, 4, 1)
    rows = nn.functional.normalize(rows, dim=-1, eps=EPS) if similarity == "cosine" else rows
    queries = rows if similarity == "cosine" else rows / maps.shape[1]
    following = torch.cat((rows[:, 1:], rows[:, -1:]), dim=1)
    margin = (max_displacement, max_displacement)
    padded = nn.functional.pad(following, (0, 0, *margin, *margin))
    # Frame by frame, so that products stay in the caches of a processor.
    frames = zip(queries.flatten(0, 1), padded.flatten(0, 1), strict=True)
    volumes = [_volume_of_frame(frame, others, max_displacement, stride) for frame, others in frames]
    # Frames behind the offsets: of a single clip what is stacked is the result, and no further copy is made.
    volume = torch.stack(volumes, dim=2).unflatten(2, rows.shape[:2])
    return volume.permute(2, 0, 1, 3, 4, 5).flatten(1, 2)


def _volume_of_frame(queries: torch.Tensor, others: torch.Tensor, max_displacement: int, stride: int) -> torch.Tensor:
    """Compare the vectors of one frame (H, W, C) with another (H + 2 d, W + 2 d, C): (n, n, H, W).

    Pieces of a row about as long as the band is wide meet little more than what is kept.
    """
    width, reach = queries.shape[1], 2 * max_displacement
    num_pieces = max(1, width // (reach + 2))
    ends = [width * number // num_pieces for number in range(num_pieces + 1)]
    bands = [
        _band_of_piece(queries[:, start:end], others[:, start : end + reach].contiguous(), reach, stride)
        for start, end in zip(ends[:-1], ends[1:], strict=True)
    ]
    return torch.cat(bands, dim=3)


def _band_of_piece(queries: torch.Tensor, others: torch.Tensor, reach: int, stride: int) -> torch.Tensor:
    """Compare pieces of rows (H, w, C) with what they may meet (H + 2 d, w + 2 d, C): a view (n, n, H, w)."""
    height, width = queries.shape[:2]
    count = reach // stride + 1
    length = others.shape[1]
    # (H, n * (w + 2 d), C): behind each row stand those that it may meet. No copy where the stride is 1.
    windows = others.unfold(0, reach + 1, 1)[..., ::stride].permute(0, 3, 1, 2).flatten(1, 2)
    scores = torch.bmm(windows, queries.transpose(1, 2))
    # The place x is met by x to x + 2 d of every one of n rows: a band along the diagonal of each of their matrices.
    return scores.as_strided(
        (count, count, height, width), (length * width, stride * width, count * length * width, width + 1)
    )
