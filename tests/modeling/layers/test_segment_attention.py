"""Attention inside and between proposals: what is left out of the computation does not change the result."""

import pytest
import torch

from hf_vidmodels.modeling.layers.segment_attention import (
    InterSegmentAttention,
    IntraSegmentAttention,
    proposal_membership,
    share_a_proposal,
    valid_slots,
)

SIZE, HEADS, LENGTH = 16, 4, 23
# Of one video two that overlap and one upside down, of another none at all, of the third one over everything.
BOXES = torch.tensor([[[2, 5], [4, 9], [12, 11]], [[0, 0], [0, 0], [0, 0]], [[0, LENGTH - 1], [0, 0], [0, 0]]])
COUNTS = torch.tensor([3, 0, 1])


@pytest.fixture(params=[IntraSegmentAttention, InterSegmentAttention])
def layer(request):
    torch.manual_seed(0)
    layer = request.param(SIZE, HEADS, 1e-5, 0.1)
    torch.nn.init.uniform_(layer.batch_norm.weight, 0.5, 1.5)
    return layer.double()


def literal(layer, hidden_states, membership, slots):
    """Attend over everything with matrices written out, as the paper has it."""
    weights = membership.double()
    if isinstance(layer, IntraSegmentAttention):
        rows, mask = hidden_states, weights @ weights.transpose(1, 2) > 0
    else:
        rows = hidden_states @ (weights / weights.sum(1, keepdim=True).clamp_min(1e-5))
        mask = slots[:, :, None] & slots[:, None, :]
    query, key, value = (
        part(rows).unflatten(1, (HEADS, -1)).transpose(2, 3) for part in (layer.query, layer.key, layer.value)
    )
    scores = query @ key.transpose(2, 3) * (SIZE // HEADS) ** -0.5
    probabilities = scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1).nan_to_num(0.0)
    attended = (probabilities @ value).transpose(2, 3).flatten(1, 2)
    if isinstance(layer, InterSegmentAttention):
        attended = attended @ (weights / weights.sum(2, keepdim=True).clamp_min(1e-5)).transpose(1, 2)
    return hidden_states + layer.batch_norm(layer.output(attended))


def arguments_of(layer, boxes=BOXES, counts=COUNTS):
    membership = proposal_membership(boxes, counts, LENGTH)
    return (membership,) if isinstance(layer, IntraSegmentAttention) else (membership, valid_slots(boxes, counts))


def outputs_and_gradients(call, layer, hidden_states, *arguments):
    layer.zero_grad()
    hidden_states = hidden_states.clone().requires_grad_()
    output = call(hidden_states, *arguments)
    (output * torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)).sum().backward()
    return [output.detach(), hidden_states.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("is_training", [True, False])
def test_outputs_and_gradients_are_those_of_attention_written_out_over_all_snippets(layer, is_training):
    layer.train(is_training)
    hidden_states = torch.randn(3, SIZE, LENGTH, dtype=torch.double)
    membership, slots = proposal_membership(BOXES, COUNTS, LENGTH), valid_slots(BOXES, COUNTS)
    ours = outputs_and_gradients(layer, layer, hidden_states, *arguments_of(layer))
    reference = outputs_and_gradients(lambda rows: literal(layer, rows, membership, slots), layer, hidden_states)
    for mine, theirs in zip(ours, reference, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=1e-10)


def test_without_any_proposal_every_parameter_has_a_gradient_and_all_snippets_get_one_vector(layer):
    layer.eval()
    hidden_states = torch.randn(2, SIZE, LENGTH, dtype=torch.double)
    nothing = torch.zeros(2, 1, 2, dtype=torch.long), torch.zeros(2, dtype=torch.long)
    output, *gradients = outputs_and_gradients(layer, layer, hidden_states, *arguments_of(layer, *nothing))
    added = output - hidden_states
    torch.testing.assert_close(added, added[:1, :, :1].expand_as(added))
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


def test_snippets_outside_proposals_are_not_projected():
    layer = IntraSegmentAttention(SIZE, HEADS, 1e-5, 0.1).eval()
    seen = []
    layer.query_key_value = lambda rows: seen.append(len(rows)) or IntraSegmentAttention.query_key_value(layer, rows)
    with torch.no_grad():
        layer(torch.randn(3, SIZE, LENGTH), *arguments_of(layer))
    assert seen == [8 + 0 + LENGTH]


def test_what_is_left_out_on_cpus_does_not_change_what_accelerators_compute(monkeypatch):
    torch.manual_seed(0)
    layer = IntraSegmentAttention(SIZE, HEADS, 1e-5, 0.1).double()
    hidden_states = torch.randn(3, SIZE, LENGTH, dtype=torch.float64)
    ours = outputs_and_gradients(layer, layer, hidden_states, *arguments_of(layer))
    monkeypatch.setattr(
        layer,
        "project_covered",
        lambda rows, membership: layer.project(
            layer.attend(*layer.query_key_value(rows), share_a_proposal(membership))
        ),
    )
    for mine, theirs in zip(
        ours, outputs_and_gradients(layer, layer, hidden_states, *arguments_of(layer)), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_attention_of_a_padded_batch_takes_the_fused_kernel(layer):
    layer = layer.float().eval()
    with torch.no_grad(), torch.profiler.profile() as profiler:
        layer(torch.randn(3, SIZE, LENGTH), *arguments_of(layer))
    names = {event.name for event in profiler.events()}
    assert any("flash_attention_for_cpu" in name for name in names), sorted(names)


def test_under_autocast_the_result_is_near_that_of_float32(layer):
    layer = layer.float().eval()
    hidden_states = torch.randn(3, SIZE, LENGTH)
    with torch.no_grad():
        exact = layer(hidden_states, *arguments_of(layer))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = layer(hidden_states, *arguments_of(layer))
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0.05)
