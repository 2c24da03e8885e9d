"""Mean-field refinement of object masks by a colour CRF (MAL, CVPR 2023, section on self-training; numbers of the
official code, commit 0ab9be4).

Each pixel asks its k x k window, weighted by how alike the colours are. There is no unary term: the probabilities
enter only as the starting point. The window is visited by shifting the whole picture once for each of its positions.
"""

import math

import torch
from torch import nn

# The official code shifts colours before it pads with zeros, so that a neighbour outside the picture looks unlike any.
COLOUR_OFFSET = 10.0
# In the official denominator. In windows above 3 x 3 both sides fall below it, and everything becomes background.
DENOMINATOR_GUARD = 1e-6


def colour_affinity(image: torch.Tensor, kernel_size: int = 3, zeta: float = 0.1, compat: bool = True) -> torch.Tensor:
    """Weigh every pixel's neighbours by the likeness of their colours, exp(-|I_i - I_j|^2 / (2 zeta^2)).

    Args:
        image: (B, C, H, W), normalised colours.
        kernel_size: side k of the window, odd.
        zeta: width of the likeness, in units of the colours.
        compat: offset the colours as the official code does, which rounds the weights by about 1e-5.

    Returns:
        (B, k * k, H, W) float32, window positions row by row; 1 in the middle, 0 outside the picture.
    """
    image = image.float() + (COLOUR_OFFSET if compat else 0.0)
    height, width = image.shape[-2:]
    radius = kernel_size // 2
    padded = nn.functional.pad(image, (radius,) * 4)
    inside = nn.functional.pad(image.new_ones(1, 1, height, width), (radius,) * 4)
    weights = []
    for top in range(kernel_size):
        for left in range(kernel_size):
            window = (..., slice(top, top + height), slice(left, left + width))
            distance = (image - padded[window]).square_().sum(1)
            weight = distance.mul_(-0.5 / zeta**2).exp_()
            weights.append(weight if compat else weight * inside[window][0])
    return torch.stack(weights, 1)


@torch.no_grad()
def mean_field(
    image: torch.Tensor,
    probabilities: torch.Tensor,
    box_mask: torch.Tensor | None = None,
    *,
    kernel_size: int = 3,
    zeta: float = 0.1,
    num_iterations: int = 100,
    low: float = 0.1,
    high: float = 0.9,
    compat: bool = True,
) -> torch.Tensor:
    """Let the pixels of each mask agree with those of like colour around them.

    On a CPU it stops at the first iteration that changes nothing, with the result of all of them; on other devices
    looking would stall the queue, and all iterations run.

    Args:
        image: (B, C, H, W), normalised colours.
        probabilities: (B, H, W) in [0, 1], where to start.
        box_mask: (B, H, W) in [0, 1]; what is outside becomes background in every iteration. None: no box.
        kernel_size: side of the window, odd.
        zeta: width of the colour likeness.
        num_iterations: updates.
        low: least probability, 0 < low < 0.5.
        high: greatest probability, 0.5 < high < 1.
        compat: compute x = F / (1e-6 + F + G) as the official code does, which is the same for 3 x 3 windows up to
            that 1e-6 and turns everything into background in larger ones. Otherwise x = sigmoid(log F - log G).

    Returns:
        (B, H, W) float32 probabilities in [low, high].
    """
    affinity = colour_affinity(image, kernel_size, zeta, compat)
    probabilities = probabilities.float()
    if box_mask is not None:
        box_mask = box_mask.float()
        probabilities = probabilities * box_mask
    start = probabilities.clamp(low, high)
    iterate = _iterate_official if compat else _iterate_log_odds
    return iterate(start, _WindowSum(affinity, kernel_size), box_mask, num_iterations, low, high)


def refine_masks(
    image: torch.Tensor, probabilities: torch.Tensor, box_mask: torch.Tensor | None = None, **settings: float | int
) -> torch.Tensor:
    """Return the masks that mean field ends in: (B, H, W) float32, 1 where it is above one half, else 0.

    Arguments are those of `mean_field`.
    """
    return (mean_field(image, probabilities, box_mask, **settings) > 0.5).float()


def _iterate_official(
    start: torch.Tensor,
    window_sum: "_WindowSum",
    box_mask: torch.Tensor | None,
    num_iterations: int,
    low: float,
    high: float,
) -> torch.Tensor:
    logs = window_sum.buffer(start, num_maps=2)
    foreground_log, background_log = logs.unbind(1)
    current, may_stop = start, start.device.type == "cpu"
    for _ in range(num_iterations):
        torch.log(current, out=foreground_log)
        torch.sub(1.0, current, out=background_log)
        background_log.log_()
        foreground, background = window_sum().exp_().unbind(1)
        if box_mask is not None:
            foreground.mul_(box_mask)
        updated = foreground / background.add_(foreground).add_(DENOMINATOR_GUARD)
        updated.clamp_(low, high)
        if may_stop and torch.equal(updated, current):
            break
        current = updated
    return current


def _iterate_log_odds(
    start: torch.Tensor,
    window_sum: "_WindowSum",
    box_mask: torch.Tensor | None,
    num_iterations: int,
    low: float,
    high: float,
) -> torch.Tensor:
    """Iterate on log odds, where the update is a weighted sum, log M is added, and clamps stay clamps."""
    lowest, highest = math.log(low / (1 - low)), math.log(high / (1 - high))
    box_log = None if box_mask is None else box_mask.log()[:, None]
    log_odds = window_sum.buffer(start, num_maps=1)
    log_odds.copy_(start.logit()[:, None])
    may_stop = start.device.type == "cpu"
    for _ in range(num_iterations):
        updated = window_sum()
        if box_log is not None:
            updated.add_(box_log)
        updated.clamp_(lowest, highest)
        if may_stop and torch.equal(updated, log_odds):
            break
        log_odds.copy_(updated)
    return log_odds[:, 0].sigmoid()


class _WindowSum:
    """Weighted sums over all windows of maps that lie in one zero-framed buffer, without copying the windows."""

    def __init__(self, affinity: torch.Tensor, kernel_size: int) -> None:
        self.kernel_size = kernel_size
        # One contiguous map per window position; the middle one is 1 and needs no multiplication.
        self.weights = affinity.transpose(0, 1)[:, :, None].contiguous()

    def buffer(self, like: torch.Tensor, num_maps: int) -> torch.Tensor:
        """Return the (B, num_maps, H, W) inside of a new buffer, for the caller to write into."""
        batch, height, width = like.shape
        radius = self.kernel_size // 2
        self._framed = like.new_zeros(batch, num_maps, height + 2 * radius, width + 2 * radius)
        self._inside = self._framed[..., radius : radius + height, radius : radius + width]
        self._sum = torch.empty_like(self._inside, memory_format=torch.contiguous_format)
        return self._inside

    def __call__(self) -> torch.Tensor:
        """Return (B, num_maps, H, W) sums of what is in the buffer; overwritten by the next call."""
        height, width = self._inside.shape[-2:]
        self._sum.copy_(self._inside)
        for position, weight in enumerate(self.weights):
            top, left = divmod(position, self.kernel_size)
            if position == len(self.weights) // 2:
                continue
            self._sum.addcmul_(weight, self._framed[..., top : top + height, left : left + width])
        return self._sum
