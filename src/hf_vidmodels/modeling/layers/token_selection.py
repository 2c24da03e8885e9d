"""Token selection of STTS: Wang et al., "Efficient Video Transformers with Spatial-Temporal Token Selection", ECCV
2022, arXiv 2111.11591. Written from facts about the official code (commit 6ae3404).

A small network scores frames, or square windows ("anchors") of every frame, and only the best go on. While training
the choice is relaxed: what goes on is a mixture weighted by perturbed-maximum indicators, so that the classification
loss alone trains scorer and backbone. Tokens are (B, T * H * W, C), frames outermost and rows before columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from ...configuration.configuration_backbones import Grid
from ...configuration.configuration_stts import SelectorPlan, SttsConfig
from ..ops.perturbed_topk import perturbed_topk, topk_indices

MIN_MAX_EPS = 1e-5
# In evaluation the random baseline draws once from this seed for all clips.
EVALUATION_SEED = 0


@dataclass
class SelectionPass:
    """How one forward pass selects, and what it selected, both in the order of the selectors.

    Attributes:
        is_soft: mix by relaxed indicators instead of choosing.
        sigma: noise level of the relaxation.
        noise: standard normal values (rows, samples, d) for one selector after the other, or None to draw them.
        generator: of the noise and of random choices; None for torch's own.
        is_training: whether random choices differ from clip to clip without a generator.
        temporal_indices: (B, k) per temporal selector, ascending frames of its input.
        temporal_scores: (B, T) per temporal selector, in [0, 1].
        spatial_indices: (B, T) per spatial selector, the anchor of every frame, numbered row by row.
        spatial_scores: (B, T, anchors) per spatial selector, in [0, 1].
    """

    is_soft: bool
    sigma: float
    noise: Iterator[torch.Tensor] | None = None
    generator: torch.Generator | None = None
    is_training: bool = False
    temporal_indices: list[torch.Tensor] = field(default_factory=list)
    temporal_scores: list[torch.Tensor] = field(default_factory=list)
    spatial_indices: list[torch.Tensor] = field(default_factory=list)
    spatial_scores: list[torch.Tensor] = field(default_factory=list)


class TokenScorer(nn.Module):
    """Rates tokens by themselves and by the mean of their row.

    Args:
        width: channels of the tokens, divisible by 4.
        norm_eps: of the norm before the first layer.
    """

    def __init__(self, width: int, norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.embedding = nn.Linear(width, width)
        self.hidden = nn.ModuleList((nn.Linear(width, width // 2), nn.Linear(width // 2, width // 4)))
        self.output = nn.Linear(width // 4, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map (rows, n, width) to scores (rows, n), float32 or better, also under autocast."""
        with torch.autocast(tokens.device.type, enabled=False):
            hidden_states = self.norm(tokens.to(self.norm.weight.dtype))
            hidden_states = nn.functional.gelu(self.embedding(hidden_states))
            local, shared = hidden_states.tensor_split(2, dim=-1)
            hidden_states = torch.cat((local, shared.mean(1, keepdim=True).expand_as(shared)), dim=-1)
            for layer in self.hidden:
                hidden_states = nn.functional.gelu(layer(hidden_states))
            scores = self.output(hidden_states).squeeze(-1)
        return scores if scores.dtype == torch.float64 else scores.float()


class TokenSelector(nn.Module):
    """What both selectors share: scoring candidates and choosing among them.

    Args:
        config: the relaxation's settings and the mode: `"learned"`, `"random"` or `"uniform"`.
        plan: where the selector sits and how much it keeps.
    """

    scores_per_channel = 1

    def __init__(self, config: SttsConfig, plan: SelectorPlan) -> None:
        super().__init__()
        self.plan = plan
        self.mode = config.selection_mode
        self.settings = {
            "num_samples": config.num_noise_samples,
            "gradient": config.topk_gradient,
            "variance_reduction": config.topk_variance_reduction,
        }
        if self.mode == "learned":
            self.scorer = TokenScorer(self.scores_per_channel * plan.width, config.scorer_norm_eps)

    def choose(self, scores: torch.Tensor, k: int) -> torch.Tensor:
        """Give the k best of (rows, d) scores in ascending order.

        Raises:
            ValueError: for scores that are no numbers, whose order means nothing.
        """
        if not torch.compiler.is_compiling() and not scores.isfinite().all():
            raise ValueError(
                f"the {self.plan.kind} selector before {self.plan.place} got scores that are NaN or infinite; check "
                "that pixel_values and the weights hold finite numbers only"
            )
        return topk_indices(scores, k)

    def relax(self, scores: torch.Tensor, k: int, selection: SelectionPass) -> torch.Tensor:
        """Give the indicators (rows, k, d) of the k best of (rows, d) scores."""
        noise = None
        if selection.noise is not None:
            noise = next(selection.noise, None)
            if noise is None:
                raise ValueError("noise must hold one tensor for each selector, in the order in which they act")
        return perturbed_topk(scores, k, selection.sigma, noise=noise, generator=selection.generator, **self.settings)

    def draw(
        self, shape: tuple[int, int, int], k: int, selection: SelectionPass, device: torch.device
    ) -> torch.Tensor:
        """Draw k of d positions for every row of (B, rows, d), without replacement and in ascending order."""
        if selection.is_training or selection.generator is not None:
            values = torch.rand(shape, generator=selection.generator, device=device)
        else:
            generator = torch.Generator().manual_seed(EVALUATION_SEED)
            values = torch.rand(shape[1:], generator=generator).to(device).expand(shape)
        return topk_indices(values, k)


class TemporalSelector(TokenSelector):
    """Keeps k frames, scored by the mean and the maximum of their tokens."""

    scores_per_channel = 2

    def forward(self, tokens: torch.Tensor, grid: Grid, selection: SelectionPass) -> tuple[torch.Tensor, Grid]:
        """Map (B, T * H * W, C) to (B, k * H * W, C).

        Raises:
            ValueError: when there are fewer than k frames.
        """
        frames, k = grid[0], self.plan.kept
        if k > frames:
            raise ValueError(
                f"the temporal selector before {self.plan.place} keeps {k} frames, but only {frames} come to it"
            )
        maps = tokens.unflatten(1, (frames, -1))
        if self.mode == "learned":
            features = torch.cat((maps.mean(2), maps.amax(2)), dim=-1)
            scores = min_max(self.scorer(features))
            selection.temporal_scores.append(scores)
            if selection.is_soft:
                indicators = self.relax(scores, k, selection)
                selection.temporal_indices.append(topk_indices(scores, k))
                kept = indicators.to(maps.dtype) @ maps.flatten(2)
                return kept.view(len(tokens), -1, tokens.shape[-1]), (k, *grid[1:])
            indices = self.choose(scores, k)
        elif self.mode == "random":
            indices = self.draw((len(tokens), 1, frames), k, selection, tokens.device)[:, 0]
        else:
            indices = spread_evenly(frames, k, tokens.device).expand(len(tokens), -1)
        selection.temporal_indices.append(indices)
        return take_rows(maps, indices).flatten(1, 2), (k, *grid[1:])


class SpatialSelector(TokenSelector):
    """Keeps one square window of every frame, scored by the mean of its tokens' scores."""

    def forward(self, tokens: torch.Tensor, grid: Grid, selection: SelectionPass) -> tuple[torch.Tensor, Grid]:
        """Map (B, T * H * W, C) to (B, T * a * a, C).

        Raises:
            ValueError: when the grid is no square of at least the window's side.
        """
        frames, side = grid[0], self.plan.kept
        if grid[1] != grid[2] or side > grid[1]:
            raise ValueError(
                f"the spatial selector before {self.plan.place} keeps windows of {side} x {side} tokens of a square "
                f"grid, but a grid of {grid[1]} x {grid[2]} comes to it"
            )
        stride = self.plan.anchor_stride
        per_side = (grid[1] - side) // stride + 1
        frame_tokens = tokens.reshape(len(tokens) * frames, -1, tokens.shape[-1])
        if self.mode == "learned":
            token_scores = self.scorer(frame_tokens).view(-1, 1, *grid[1:])
            scores = min_max(nn.functional.avg_pool2d(token_scores, side, stride).flatten(1))
            selection.spatial_scores.append(scores.view(len(tokens), frames, -1))
            if selection.is_soft:
                indicators = self.relax(scores, 1, selection)
                selection.spatial_indices.append(topk_indices(scores, 1).view(len(tokens), frames))
                kept = mix_windows(frame_tokens.unflatten(1, grid[1:]), indicators, side, stride)
                return kept.reshape(len(tokens), -1, tokens.shape[-1]), (frames, side, side)
            anchors = self.choose(scores, 1).view(len(tokens), frames)
        elif self.mode == "random":
            shape = (len(tokens), frames, per_side**2)
            anchors = self.draw(shape, 1, selection, tokens.device)[..., 0]
        else:
            middle = (per_side - 1) // 2
            anchors = torch.full((len(tokens), frames), middle * (per_side + 1), device=tokens.device)
        selection.spatial_indices.append(anchors)
        cells = window_cells(anchors.reshape(-1), grid[1], side, stride)
        return take_rows(frame_tokens, cells).reshape(len(tokens), -1, tokens.shape[-1]), (frames, side, side)


def min_max(scores: torch.Tensor) -> torch.Tensor:
    """Stretch every row of (..., d) to [0, 1]; a constant row becomes zeros."""
    lowest, highest = scores.amin(-1, keepdim=True), scores.amax(-1, keepdim=True)
    return (scores - lowest) / (highest - lowest + MIN_MAX_EPS)


def spread_evenly(size: int, k: int, device: torch.device) -> torch.Tensor:
    """Give (k,) positions from 0 to `size` - 1 at equal distances, truncated to integers."""
    return torch.linspace(0, size - 1, k, dtype=torch.float64, device=device).long()


def take_rows(values: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Take entries of dimension 1 of (B, N, ...) by (B, k), each a copy of one block of memory."""
    starts = torch.arange(len(values), device=values.device) * values.shape[1]
    taken = values.flatten(0, 1).index_select(0, (indices + starts[:, None]).flatten())
    return taken.unflatten(0, indices.shape)


def window_cells(anchors: torch.Tensor, grid_side: int, side: int, stride: int) -> torch.Tensor:
    """Give (R, side * side) cells, row by row, of the windows (R,) of grids of `grid_side` x `grid_side`."""
    per_side = (grid_side - side) // stride + 1
    steps = torch.arange(side, device=anchors.device)
    rows = (anchors // per_side * stride)[:, None] + steps
    columns = (anchors % per_side * stride)[:, None] + steps
    return (rows[:, :, None] * grid_side + columns[:, None]).flatten(1)


def mix_windows(maps: torch.Tensor, indicators: torch.Tensor, side: int, stride: int) -> torch.Tensor:
    """Average all windows of (R, H, W, C) maps by (R, 1, windows) weights.

    Returns:
        (R, side * side, C).
    """
    windows = maps.unfold(1, side, stride).unfold(2, side, stride)
    weights = indicators.view(len(maps), *windows.shape[1:3]).to(maps.dtype)
    return torch.einsum("ruv,ruvcij->rijc", weights, windows).flatten(1, 2)
