"""What overlapping clips of a film have in common in the first layers of the I3D trunk, computed once.

Zeros stand around every clip, and each layer carries them further inwards from both ends. What lies between follows
from the frames alone: a clip that begins later has it too, at an earlier place. Behind the first layer that is all but
three of 18 feature frames of an AVA clip, behind Mixed 3b all but seven, and behind Mixed 4b nothing that pays. With a
clip for every second half of the first layer need not be computed, five of 18 feature frames of the third layer, and
three of Mixed 3b.
"""

from collections.abc import Callable, Sequence

import torch

from ...configuration.configuration_i3d import TRUNK_BLOCKS
from .i3d import I3dModel, fast_layout

# Of what the first layer gives, the feature frames at both ends that depend on the zeros around a clip. The layers
# after it look one frame further, and so add one to both.
FIRST_END, LAST_END = 1, 2
NUM_SHARED = 3


class OverlappingClips:
    """Runs a trunk on clips of one film, in the order of time, and keeps what the next one may share.

    Args:
        trunk: in evaluation mode.
    """

    def __init__(self, trunk: I3dModel) -> None:
        self._trunk = trunk
        self._clip: torch.Tensor | None = None
        self._kept: list[torch.Tensor] = []

    def __call__(self, clips: torch.Tensor, shifts: Sequence[int]) -> torch.Tensor:
        """Give the last maps (B, feature_width, T / 4, h, w) of clips.

        Args:
            clips: (B, T, num_channels, H, W).
            shifts: frames by which each begins later than the one before. Only equal frames are shared, and only where
                a shift is even, for the first layer takes every second frame.
        """
        maps = torch.cat([self._first_layers(clip, shift) for clip, shift in zip(clips, shifts, strict=True)])
        return self._trunk.run_blocks(maps, TRUNK_BLOCKS[1:])

    def _first_layers(self, clip: torch.Tensor, shift: int) -> torch.Tensor:
        """Run one clip (T, C, H, W) up to Mixed 3b: (1, C', T / 2, H / 8, W / 8)."""
        kept = self._kept if self._shares(clip, shift) else [None] * NUM_SHARED
        frames, count, shift = fast_layout(clip.transpose(0, 1)[None]), len(clip) // 2, shift // 2
        stem, block = self._trunk.stem, self._trunk.blocks[TRUNK_BLOCKS[0]]
        first = _joined(kept[0], count, shift, 0, lambda start, stop: stem.first_layers(frames, start, stop))
        third = _joined(kept[1], count, shift, 1, _around(stem.last_layers, first))
        mixed = _joined(kept[2], count, shift, 2, _around(block, third))
        self._clip, self._kept = clip, [first, third, mixed]
        return mixed

    def _shares(self, clip: torch.Tensor, shift: int) -> bool:
        if self._clip is None or shift % 2 or not 0 <= shift < len(clip):
            return False
        return torch.equal(self._clip[shift:], clip[: len(clip) - shift])


def _joined(
    kept: torch.Tensor | None, count: int, shift: int, depth: int, compute: Callable[[int, int], torch.Tensor]
) -> torch.Tensor:
    """Give `count` feature frames of a clip: what the clip before has too from what it kept, the others computed.

    Args:
        kept: (1, C, count, h, w) of the clip before, or None.
        count: feature frames.
        shift: by how many the clip begins later.
        depth: layers of kernel 3 in time before and in `compute`, behind the first layer.
        compute: gives the feature frames from a first one up to a last one, exclusive.
    """
    first_end, last_end = FIRST_END + depth, LAST_END + depth
    new = count - last_end - shift
    if kept is None or new <= first_end:
        return compute(0, count)
    shared = kept[:, :, first_end + shift : count - last_end]
    return torch.cat((compute(0, first_end), shared, compute(new, count)), dim=2)


def _around(layer: Callable[[torch.Tensor], torch.Tensor], maps: torch.Tensor) -> Callable[[int, int], torch.Tensor]:
    """Let a layer of kernel 3 in time give some of its feature frames, from those of `maps` and their neighbours."""

    def compute(start: int, stop: int) -> torch.Tensor:
        begin = max(start - 1, 0)
        return layer(maps[:, :, begin : stop + 1])[:, :, start - begin : stop - begin]

    return compute
