"""Attention inside and between the proposals of a video (ASM-Loc, CVPR 2022; written from the official code's facts).

Both modules are residual and end in a batch norm whose scale and shift start at zero, so a fresh one is the identity.
Proposals are boxes (B, N, 2) of inclusive first and last snippet indices, of which the first `num_proposals` count.
A box whose first index exceeds its last covers nothing but still counts as a slot of the attention between proposals.
"""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention


def proposal_membership(proposal_boxes: torch.Tensor, num_proposals: torch.Tensor, num_snippets: int) -> torch.Tensor:
    """Tell which snippets lie in which proposals.

    Args:
        proposal_boxes: (B, N, 2) inclusive snippet indices.
        num_proposals: (B,) how many of the N boxes are real.
        num_snippets: T.

    Returns:
        (B, T, N) bool.
    """
    time = torch.arange(num_snippets, device=proposal_boxes.device)[None, :, None]
    first, last = proposal_boxes[:, None, :, 0], proposal_boxes[:, None, :, 1]
    return (time >= first) & (time <= last) & valid_slots(proposal_boxes, num_proposals)[:, None, :]


def valid_slots(proposal_boxes: torch.Tensor, num_proposals: torch.Tensor) -> torch.Tensor:
    """Give (B, N) bool, true for the boxes that are no padding."""
    return torch.arange(proposal_boxes.shape[1], device=proposal_boxes.device) < num_proposals[:, None]


class MaskedSelfAttention(nn.Module):
    """Multi-head self-attention over a sequence of channel-first vectors, without the output projection."""

    def __init__(self, hidden_size: int, num_attention_heads: int) -> None:
        super().__init__()
        self.num_attention_heads = num_attention_heads
        self.query = nn.Conv1d(hidden_size, hidden_size, kernel_size=1)
        self.key = nn.Conv1d(hidden_size, hidden_size, kernel_size=1)
        self.value = nn.Conv1d(hidden_size, hidden_size, kernel_size=1)

    def attend(self, hidden_states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attend where allowed; positions that may attend to nothing get zeros.

        Args:
            hidden_states: (B, C, S).
            mask: (B, S, S) bool, true where the row's position may attend to the column's.

        Returns:
            (B, C, S), heads concatenated in channel order.
        """
        query, key, value = (
            layer(hidden_states).unflatten(1, (self.num_attention_heads, -1)).transpose(2, 3)
            for layer in (self.query, self.key, self.value)
        )
        any_allowed = mask.any(-1, keepdim=True)
        # A row of minus infinities would be NaN in softmax: let it attend everywhere and erase the result.
        attended = scaled_dot_product_attention(query, key, value, attn_mask=(mask | ~any_allowed)[:, None])
        return (attended * any_allowed[:, None]).transpose(2, 3).flatten(1, 2)


class SegmentAttention(MaskedSelfAttention):
    """What both modules share after attending: projection, batch norm and residual."""

    def __init__(self, hidden_size: int, num_attention_heads: int, batch_norm_eps: float, batch_norm_momentum: float):
        super().__init__(hidden_size, num_attention_heads)
        self.output = nn.Conv1d(hidden_size, hidden_size, kernel_size=1)
        self.batch_norm = nn.BatchNorm1d(hidden_size, eps=batch_norm_eps, momentum=batch_norm_momentum)

    def project(
        self, hidden_states: torch.Tensor, attended: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Add the normalised projection of `attended` (B, C, T) to `hidden_states` (B, C, T).

        Snippets outside every proposal get the projection of zeros, a constant vector that also enters the batch
        statistics: released checkpoints depend on it. Padding does not enter them.
        """
        projected = self.output(attended)
        if self.training and attention_mask is not None:
            valid = attention_mask.bool()
            normalized = torch.zeros_like(projected).transpose(1, 2)
            normalized[valid] = self.batch_norm(projected.transpose(1, 2)[valid])
            return hidden_states + normalized.transpose(1, 2)
        return hidden_states + self.batch_norm(projected)


class IntraSegmentAttention(SegmentAttention):
    """Attention between snippets that share a proposal."""

    def forward(
        self, hidden_states: torch.Tensor, membership: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Refine (B, C, T) snippets given their (B, T, N) membership in proposals; returns (B, C, T)."""
        counts = membership.to(hidden_states.dtype)
        share_a_proposal = counts @ counts.transpose(1, 2) > 0
        return self.project(hidden_states, self.attend(hidden_states, share_a_proposal), attention_mask)


class InterSegmentAttention(SegmentAttention):
    """Attention between proposals (means of their snippets); a snippet gets the mean of its proposals' results."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        membership: torch.Tensor,
        slots: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Refine (B, C, T) snippets given (B, T, N) membership and (B, N) valid slots; returns (B, C, T)."""
        weights = membership.to(hidden_states.dtype)
        segments = hidden_states @ (weights / weights.sum(1, keepdim=True).clamp_min(1e-5))
        attended = self.attend(segments, slots[:, :, None] & slots[:, None, :])
        spread = (weights / weights.sum(2, keepdim=True).clamp_min(1e-5)).transpose(1, 2)
        return self.project(hidden_states, attended @ spread, attention_mask)
