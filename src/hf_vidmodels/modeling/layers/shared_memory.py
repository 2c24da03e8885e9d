"""A memory that the clips of a video share: Yang et al., "Beyond Short Clips: End-to-End Video-Level Learning with
Collaborative Memories", CVPR 2021, arXiv 2104.01198.

The paper states the chain of push, pop and context infusion, an associative memory, and feature gating by the global
average of what is retrieved. Everything else here is our reconstruction; see `configuration_collaborative_memory.py`.

Clip features are (B, N, C, T, H, W), or with their positions in one axis (B, N, P, C). A gate uses what is retrieved
as its average over the positions of a clip, and averages commute with linear maps: with the mean x of the features,
mean(M^T q) = M^T (W_q x + b_q). So it never needs to be retrieved position by position.
"""

import math
from typing import NamedTuple

import torch
from torch import nn
from transformers import initialization as init


class MemoryState(NamedTuple):
    """What clips have pushed so far; its size does not depend on their number. Float32, or float64 of such features.

    Attributes:
        total: (B, K, V) sum over positions of key times value, or (B, V) the sum of values.
        mass: (B, 1) positions, or (B, K) the sum of the exponentials of a softmax over positions.
        peak: (B, K) the largest exponent of that softmax, which its sums are scaled by; (B, 1) zeros otherwise.
    """

    total: torch.Tensor
    mass: torch.Tensor
    peak: torch.Tensor

    @property
    def content(self) -> torch.Tensor:
        """The mean that clips read: (B, K, V) or (B, V)."""
        mass = self.mass.unsqueeze(-1) if self.total.ndim > self.mass.ndim else self.mass
        return self.total / mass

    def detach(self) -> "MemoryState":
        """Give it as a constant."""
        return MemoryState(*(part.detach() for part in self))


class InfusedClips(NamedTuple):
    """Clips after they have read.

    Attributes:
        pooled: (B, N, C) means of the infused features over their positions.
        maps: (B, N, C, T, H, W) the infused features; on request.
        gates: (B, N, C) in (0, 1); None of residual infusion.
        memory: what has been pushed, that given included; None of self-attention.
    """

    pooled: torch.Tensor
    maps: torch.Tensor | None
    gates: torch.Tensor | None
    memory: MemoryState | None


class SharedMemory(nn.Module):
    """Push, pop and infusion, for all kinds of memory and infusion.

    Args:
        width: C.
        key_width: channels of keys and queries.
        value_width: channels of values.
        memory_type: `"associative"`, `"associative_softmax"`, `"average"` or `"self_attention"`.
        infusion_type: `"gating"`, `"gating_residual"` or `"residual"`.
        stop_gradient: pushes without gradient: `"none"`, `"other_clips"` (than the reading one) or `"all"`.
    """

    def __init__(
        self,
        width: int,
        key_width: int,
        value_width: int,
        memory_type: str = "associative",
        infusion_type: str = "gating",
        stop_gradient: str = "none",
    ) -> None:
        super().__init__()
        self.memory_type, self.infusion_type, self.stop_gradient = memory_type, infusion_type, stop_gradient
        self.value = nn.Linear(width, value_width)
        if memory_type != "average":
            self.key, self.query = nn.Linear(width, key_width), nn.Linear(width, key_width)
        if infusion_type == "residual":
            self.residual = nn.Linear(value_width, width)
        else:
            self.gate = nn.Linear(value_width, width)

    def start_layer(self, name: str, gate_bias: float, gate_std: float) -> None:
        """Give the weights of a layer their initial values; a residual infusion changes nothing at first.

        Args:
            name: of the layer, an attribute of this module.
            gate_bias: of the gate.
            gate_std: deviation of its weights.
        """
        layer = getattr(self, name)
        if name == "residual":
            init.zeros_(layer.weight)
        elif name == "gate":
            init.normal_(layer.weight, std=gate_std)
        else:
            init.kaiming_normal_(layer.weight, nonlinearity="relu")
        init.constant_(layer.bias, gate_bias if name == "gate" else 0.0)

    def forward(
        self,
        features: torch.Tensor,
        clip_mask: torch.Tensor | None = None,
        past_memory: MemoryState | None = None,
        *,
        update: bool = True,
        reader: int | None = None,
        return_maps: bool = False,
    ) -> InfusedClips:
        """Let all clips push, then let them read.

        Args:
            features: (B, N, C, T, H, W).
            clip_mask: (B, N) bool, False where there is no clip; such clips push nothing.
            past_memory: what earlier clips of the same videos have pushed.
            update: whether these clips push, or only read `past_memory`.
            reader: the only clip that reads, so that N is 1 in the result; None for all.
            return_maps: also give infused features at every position.

        Raises:
            ValueError: nothing to read, or a past of self-attention, whose memory would grow without end.
        """
        if past_memory is None and not update:
            raise ValueError("update=False reads what was pushed before, but no past_memory was given")
        if self.memory_type == "self_attention" and past_memory is not None:
            raise ValueError(
                "a self_attention memory keeps all positions of all clips, so it cannot be handed on as past_memory; "
                "give all clips of a video at once, or use another memory_type"
            )
        grid = features.shape[3:]
        positions = features.flatten(3).transpose(2, 3)
        if clip_mask is not None:
            positions = positions.where(clip_mask[..., None, None], 0)
        readers = positions if reader is None else positions[:, reader : reader + 1]
        if self.memory_type == "self_attention":
            memory, retrieved = None, self._attend(positions, clip_mask, reader)
            pooled_retrieved = retrieved.mean(2)
        else:
            own, memory = self._push(positions, clip_mask, past_memory) if update else (None, past_memory)
            content = self._content(own, memory, reader)
            wants_positions = return_maps and self.infusion_type == "residual"
            retrieved = self._retrieve(self._queries(readers), content) if wants_positions else None
            pooled_retrieved = self._retrieve(self._mean_query(readers), content)[:, :, 0]
        pooled = readers.mean(2)
        if self.infusion_type == "residual":
            gates, pooled = None, pooled + self.residual(pooled_retrieved)
            maps = readers + self.residual(retrieved) if return_maps else None
        else:
            gates = self.gate(pooled_retrieved).sigmoid().expand_as(pooled)
            factor = gates if self.infusion_type == "gating" else 1 + gates
            pooled = factor * pooled
            maps = factor[:, :, None] * readers if return_maps else None
        if maps is not None:
            maps = maps.transpose(2, 3).unflatten(3, grid)
        return InfusedClips(pooled, maps, gates, memory)

    def _push(
        self, positions: torch.Tensor, clip_mask: torch.Tensor | None, past: MemoryState | None
    ) -> tuple[MemoryState, MemoryState]:
        """Give what each clip adds, with an axis of clips behind the first, and what there is afterwards."""
        batch_size, num_clips, num_positions, _ = positions.shape
        present = positions.new_ones(batch_size, num_clips, 1) if clip_mask is None else clip_mask[..., None]
        present = _exact(present.to(positions.dtype))
        mass, peak = present * num_positions, present.new_zeros(batch_size, 1)
        if self.memory_type == "average":
            total = _exact(self.value(positions.mean(2))) * mass
        else:
            keys, values = _exact(self.key(positions)), _exact(self.value(positions))
            if self.memory_type == "associative_softmax":
                keys = keys.masked_fill(present[..., None] == 0, -math.inf)
                peak = keys.detach().amax((1, 2))
                peak = peak if past is None else torch.maximum(peak, past.peak)
                keys = (keys - peak[:, None, None]).exp()
                mass = keys.sum(2)
            # Thousands of terms are summed: in half precision the small ones would be lost.
            with torch.autocast(positions.device.type, enabled=False):
                total = keys.transpose(2, 3) @ values * present[..., None]
        if self.stop_gradient == "all":
            total, mass = total.detach(), mass.detach()
        own = MemoryState(total, mass, peak)
        if past is None:
            return own, MemoryState(total.sum(1), mass.sum(1), peak)
        fading = (past.peak - peak).exp()
        past_total = past.total * (fading[..., None] if past.total.ndim == 3 else fading)
        return own, MemoryState(past_total + total.sum(1), past.mass * fading + mass.sum(1), peak)

    def _content(self, own: MemoryState | None, memory: MemoryState, reader: int | None) -> torch.Tensor:
        """Give what each clip reads: (B, 1 or N, K, V), or (B, 1 or N, V)."""
        if own is None or self.stop_gradient != "other_clips":
            return memory.content.unsqueeze(1)
        clips = slice(None) if reader is None else slice(reader, reader + 1)
        # The value is that of all pushes; the gradient is that of the reader's own.
        total, mass = (
            part[:, clips] + (whole.unsqueeze(1) - part[:, clips]).detach()
            for part, whole in ((own.total, memory.total), (own.mass, memory.mass))
        )
        return MemoryState(total, mass, memory.peak).content

    def _queries(self, positions: torch.Tensor) -> torch.Tensor | None:
        """Give the query of every position (B, N, P, K); an average has none."""
        if self.memory_type == "average":
            return None
        query = self.query(positions)
        return query.softmax(-1) if self.memory_type == "associative_softmax" else query

    def _mean_query(self, positions: torch.Tensor) -> torch.Tensor | None:
        """Give the mean query of every clip (B, N, 1, K)."""
        if self.memory_type == "associative":
            return self.query(positions.mean(2, keepdim=True))
        query = self._queries(positions)
        return None if query is None else query.mean(2, keepdim=True)

    def _retrieve(self, query: torch.Tensor | None, content: torch.Tensor) -> torch.Tensor:
        """Read by queries (B, N, Q, K) from (B, 1 or N, K, V), or (B, 1 or N, V) itself; gives (B, N or 1, Q, V)."""
        if query is None:
            return content.unsqueeze(2).to(self.value.weight.dtype)
        with torch.autocast(query.device.type, enabled=False):
            return (_exact(query) @ content).to(query.dtype)

    def _attend(self, positions: torch.Tensor, clip_mask: torch.Tensor | None, reader: int | None) -> torch.Tensor:
        """Let every position look at those of all clips: (B, N, P, V), N = 1 with a reader."""
        num_clips, num_positions = positions.shape[1:3]
        clips = slice(None) if reader is None else slice(reader, reader + 1)
        query, key, value = self.query(positions[:, clips]), self.key(positions), self.value(positions)
        mask = None if clip_mask is None else clip_mask.repeat_interleave(num_positions, 1)
        shape = (*query.shape[:3], value.shape[-1])
        scale = query.shape[-1] ** -0.5
        if self.stop_gradient == "all":
            key, value = key.detach(), value.detach()
        elif self.stop_gradient == "other_clips":
            # Each reading clip has keys and values of its own, in which those of the others are constants.
            is_own = torch.eye(num_clips, dtype=torch.bool, device=positions.device)[clips, :, None, None]
            key, value = (
                torch.where(is_own, part[:, None], part[:, None].detach()).flatten(0, 1) for part in (key, value)
            )
            mask = None if mask is None else mask.repeat_interleave(query.shape[1], 0)
            query = query.flatten(0, 1)
        query, key, value = (part.reshape(len(part), 1, -1, part.shape[-1]) for part in (query, key, value))
        # The fused kernel wants queries and values of one width; columns of zeros change no product.
        width = max(query.shape[-1], value.shape[-1])
        query, key, value = (nn.functional.pad(part, (0, width - part.shape[-1])) for part in (query, key, value))
        if mask is not None:
            mask = mask[:, None, None].expand(-1, -1, query.shape[2], -1)
        found = nn.functional.scaled_dot_product_attention(query, key, value, mask, scale=scale)
        return found[..., : shape[-1]].reshape(shape)


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
