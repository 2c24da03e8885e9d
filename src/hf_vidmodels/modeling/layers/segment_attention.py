"""Attention inside and between the proposals of a video (ASM-Loc, CVPR 2022; written from the official code's facts).

Both modules are residual and end in a batch norm whose scale and shift start at zero, so a fresh one is the identity.
Proposals are boxes (B, N, 2) of inclusive first and last snippet indices, of which the first `num_proposals` count.
A box whose first index exceeds its last covers nothing but still counts as a slot of the attention between proposals.
"""

import torch
from torch import nn
from torch.nn.functional import linear, scaled_dot_product_attention


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


def share_a_proposal(membership: torch.Tensor) -> torch.Tensor:
    """Give (B, S, S) bool from (B, S, N) membership, true for two snippets that lie in one proposal."""
    counts = membership.float()
    return counts @ counts.transpose(1, 2) > 0


class MaskedSelfAttention(nn.Module):
    """Multi-head self-attention without the output projection; layers are convolutions as in released checkpoints."""

    def __init__(self, hidden_size: int, num_attention_heads: int) -> None:
        super().__init__()
        self.num_attention_heads = num_attention_heads
        self.query = nn.Conv1d(hidden_size, hidden_size, kernel_size=1)
        self.key = nn.Conv1d(hidden_size, hidden_size, kernel_size=1)
        self.value = nn.Conv1d(hidden_size, hidden_size, kernel_size=1)

    def query_key_value(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Project (..., C) rows to three of the same shape."""
        # As products of rows: short sequences take a convolution twice the time in the backward pass.
        return [linear(rows, layer.weight.squeeze(-1), layer.bias) for layer in (self.query, self.key, self.value)]

    def attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attend where allowed; positions that may attend to nothing get zeros.

        Args:
            query: (B, S, C), as are key and value.
            key: see there.
            value: see there.
            mask: (B, S, S) bool, true where the row's position may attend to the column's.

        Returns:
            (B, S, C), heads concatenated in channel order.
        """
        heads = (rows.unflatten(2, (self.num_attention_heads, -1)).transpose(1, 2) for rows in (query, key, value))
        any_allowed = mask.any(-1, keepdim=True)
        # A row of minus infinities would be NaN in softmax: let it attend everywhere and erase the result.
        attended = scaled_dot_product_attention(*heads, attn_mask=(mask | ~any_allowed)[:, None])
        return (attended * any_allowed[:, None]).transpose(1, 2).flatten(2)


class SegmentAttention(MaskedSelfAttention):
    """What both modules share after attending: projection, batch norm and residual."""

    def __init__(self, hidden_size: int, num_attention_heads: int, batch_norm_eps: float, batch_norm_momentum: float):
        super().__init__(hidden_size, num_attention_heads)
        self.output = nn.Conv1d(hidden_size, hidden_size, kernel_size=1)
        self.batch_norm = nn.BatchNorm1d(hidden_size, eps=batch_norm_eps, momentum=batch_norm_momentum)

    def project(self, attended: torch.Tensor) -> torch.Tensor:
        """Multiply (..., C) rows by the output weights; the bias comes with `add`, to all snippets alike."""
        return linear(attended, self.output.weight.squeeze(-1))

    def add(
        self, hidden_states: torch.Tensor, projected: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Add the normalised projections (B, T, C) to `hidden_states` (B, C, T).

        Snippets outside every proposal get the projection of zeros, a constant vector that also enters the batch
        statistics: released checkpoints depend on it. Padding does not enter them.
        """
        projected = projected + self.output.bias.to(projected.dtype)
        if self.training and attention_mask is not None:
            valid = attention_mask.bool()
            normalized = torch.zeros_like(projected)
            normalized[valid] = self.batch_norm(projected[valid])
            return hidden_states + normalized.transpose(1, 2)
        # Several times as fast as over the transposed view, and more exact than over rows.
        return hidden_states + self.batch_norm(projected.transpose(1, 2).contiguous())


class IntraSegmentAttention(SegmentAttention):
    """Attention between snippets that share a proposal."""

    def forward(
        self, hidden_states: torch.Tensor, membership: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Refine (B, C, T) snippets given their (B, T, N) membership in proposals; returns (B, C, T)."""
        snippets = hidden_states.transpose(1, 2)
        # Elsewhere the number of rows would have to be waited for, or compiled anew for every batch.
        if snippets.device.type == "cpu" and not torch.compiler.is_compiling():
            projected = self.project_covered(snippets, membership)
        else:
            projected = self.project(self.attend(*self.query_key_value(snippets), share_a_proposal(membership)))
        return self.add(hidden_states, projected, attention_mask)

    def project_covered(self, snippets: torch.Tensor, membership: torch.Tensor) -> torch.Tensor:
        """Attend and project as for all snippets (B, T, C), but compute only those inside a proposal."""
        covered = membership.any(2)
        lengths = covered.sum(1).tolist()

        def padded(rows: torch.Tensor) -> torch.Tensor:
            return nn.utils.rnn.pad_sequence(rows.split(lengths), batch_first=True)

        mask = share_a_proposal(padded(membership[covered]))
        attended = self.attend(*(padded(rows) for rows in self.query_key_value(snippets[covered])), mask)
        is_row = torch.arange(attended.shape[1]) < torch.tensor(lengths)[:, None]
        rows = self.project(attended[is_row])
        projected = rows.new_zeros(snippets.shape)
        projected[covered] = rows
        return projected


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
        means = (weights / weights.sum(1, keepdim=True).clamp_min(1e-5)).transpose(1, 2)
        segments = means @ hidden_states.transpose(1, 2)
        attended = self.attend(*self.query_key_value(segments), slots[:, :, None] & slots[:, None, :])
        # Projecting is linear: the few proposals are projected, not the many snippets that get means of them.
        spread = weights / weights.sum(2, keepdim=True).clamp_min(1e-5)
        return self.add(hidden_states, spread @ self.project(attended), attention_mask)
