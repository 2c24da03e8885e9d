"""Speed of one refinement network of ASM-Loc against the form of the official code, in one run on one thread.

    python benchmarks/speed_asm_loc_network.py [--rounds 5] [--videos 1] [--snippets 750]

Both forms have the same weights and see the same videos of 750 snippets with 40 proposals, once short ones that cover
about a third of the video and once such that cover all of it. The official form projects every snippet by convolutions
and writes out the matrix of probabilities. A training step is a forward pass with dropout, losses, backward pass and
Adam, ours fused as in our loop. Times are the process's own; shares are of the best matrix product of the same run.
Ours in bfloat16 is compared with ours in float32 as well.
The command fails when a target is missed: 0.7 of the official form's time for the short proposals, and a training step
no slower than the official one for both kinds.
"""

import copy
import sys
import time
from collections.abc import Callable
from types import MethodType

import torch
from machine_limit import best_product, operations
from timed_forms import ratio, speed_parser
from torch import nn

from hf_vidmodels import AsmLocConfig, AsmLocForTemporalActionLocalization
from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.command_line import run
from hf_vidmodels.evaluation.answer_forms import prepare_to_answer
from hf_vidmodels.modeling.layers.segment_attention import SegmentAttention, proposal_membership, valid_slots
from hf_vidmodels.modeling.modeling_asm_loc import AsmLocNetwork
from hf_vidmodels.tasks import BFLOAT16

FORWARD_TARGET, TRAINING_TARGET = 0.7, 1.0
PROPOSALS = 40
SAME_OUTPUTS = 1e-5


def literal_attention(layer: SegmentAttention, rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Attend over (B, C, S) as the paper writes it; rows that may attend to nothing get zeros."""
    query, key, value = (
        projection(rows).unflatten(1, (layer.num_attention_heads, -1))
        for projection in (layer.query, layer.key, layer.value)
    )
    scores = torch.einsum("bhdt,bhds->bhts", query * query.shape[2] ** -0.5, key)
    probabilities = scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1).nan_to_num(0.0)
    return torch.einsum("bhts,bhds->bhdt", probabilities, value).flatten(1, 2)


def literal_attend_to_proposals(
    network: AsmLocNetwork,
    hidden_states: torch.Tensor,
    attention_mask: torch.Tensor | None,
    proposal_boxes: torch.Tensor,
    num_proposals: torch.Tensor,
) -> torch.Tensor:
    """Refine (B, C, T) hidden states as the official code does; every snippet of the video counts."""
    inside = proposal_membership(proposal_boxes, num_proposals, hidden_states.shape[2]).float()
    intra, inter = network.intra_attention, network.inter_attention
    attended = literal_attention(intra, hidden_states, inside @ inside.transpose(1, 2) > 0)
    hidden_states = hidden_states + intra.batch_norm(intra.output(attended))
    slots = valid_slots(proposal_boxes, num_proposals)
    segments = hidden_states @ (inside / inside.sum(1, keepdim=True).clamp_min(1e-5))
    attended = literal_attention(inter, segments, slots[:, :, None] & slots[:, None, :])
    spread = attended @ (inside / inside.sum(2, keepdim=True).clamp_min(1e-5)).transpose(1, 2)
    return hidden_states + inter.batch_norm(inter.output(spread))


def as_official(model: AsmLocForTemporalActionLocalization) -> AsmLocForTemporalActionLocalization:
    """Give a copy that attends in the official form."""
    model = copy.deepcopy(model)
    model.steps[1].attend_to_proposals = MethodType(literal_attend_to_proposals, model.steps[1])
    return model


def make_batch(videos: int, snippets: int, width: int, covers_all: bool) -> dict[str, torch.Tensor]:
    """Make features, labels, 40 proposals a video, and the labels of snippets that follow from them."""
    generator = torch.Generator().manual_seed(0)
    if covers_all:
        first = torch.linspace(0, snippets, PROPOSALS + 1)[:-1].long().expand(videos, PROPOSALS)
        lengths = torch.full((videos, PROPOSALS), snippets // PROPOSALS + 2)
    else:
        first = torch.randint(0, snippets - 12, (videos, PROPOSALS), generator=generator)
        lengths = torch.randint(4, 12, (videos, PROPOSALS), generator=generator)
    boxes = torch.stack([first, (first + lengths).clamp_max(snippets - 1)], dim=-1)
    covered = proposal_membership(boxes, torch.full((videos,), PROPOSALS), snippets).any(2)
    pseudo_labels = torch.zeros(videos, snippets, 21)
    pseudo_labels[..., 0], pseudo_labels[..., -1] = covered, ~covered
    return {
        "input_features": torch.randn(videos, snippets, width, generator=generator).abs(),
        "proposal_boxes": boxes,
        "labels": nn.functional.one_hot(torch.zeros(videos, dtype=torch.long), 20).float(),
        "pseudo_labels": pseudo_labels,
    }


def training_step(
    model: AsmLocForTemporalActionLocalization, batch: dict[str, torch.Tensor], is_fused: bool
) -> Callable[[], float]:
    """Give a step of the last network; equal models draw equal dropout, and a rate of zero keeps them equal."""
    optimizer = torch.optim.Adam(model.steps[1].parameters(), lr=0.0, fused=is_fused)

    def step() -> float:
        torch.manual_seed(0)
        model.train()
        loss = model(**batch, step=1).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def answer(
    model: AsmLocForTemporalActionLocalization, batch: dict[str, torch.Tensor], _: bool
) -> Callable[[], torch.Tensor]:
    """Give a forward pass that answers."""

    @torch.inference_mode()
    def forward() -> torch.Tensor:
        model.eval()
        return model(batch["input_features"], proposal_boxes=batch["proposal_boxes"], step=1).cas_logits

    return forward


def main() -> None:
    """Measure, print, and fail when a target is missed."""
    parser = speed_parser(__doc__, rounds=5)
    parser.add_argument("--videos", type=int, default=1, help="videos in one batch (default: 1)")
    parser.add_argument("--snippets", type=int, default=750, help="snippets of a video (default: 750)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    config = AsmLocConfig(num_labels=20, num_refinement_steps=1)
    ours = AsmLocForTemporalActionLocalization(config)
    for layer in (ours.steps[1].intra_attention, ours.steps[1].inter_attention):
        # A fresh one gives zeros, which would compare nothing.
        nn.init.ones_(layer.batch_norm.weight)
    limit = best_product()
    print(f"best matrix product: {limit / 1e9:.0f} GFLOP/s; {arguments.videos} x {arguments.snippets} snippets")
    figures, missed = [], []
    for covers_all in (True, False):
        batch = make_batch(arguments.videos, arguments.snippets, config.hidden_size, covers_all)
        covered = float(1 - batch["pseudo_labels"][..., -1].mean())
        for what, make, target in (
            ("answer", answer, None if covers_all else FORWARD_TARGET),
            ("training step", training_step, TRAINING_TARGET),
        ):
            forms = make(copy.deepcopy(ours), batch, True), make(as_official(ours), batch, False)
            difference = float(torch.as_tensor(forms[0]() - forms[1]()).abs().max())
            row = ratio(*forms, arguments.rounds, time.process_time)
            of_limit = operations(forms[0]) / row["fast"] / limit
            row |= {"what": what, "covered": covered, "difference": difference, "of_limit": of_limit}
            figures.append(row)
            print(
                f"{what}, {covered:.2f} of the snippets in proposals: ours {row['fast']:.3f} s, official form "
                f"{row['plain']:.3f} s, ratio {row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f})"
                f"{'' if target is None else f' of at most {target}'}; largest difference {difference:.1e}; "
                f"{of_limit:.2f} of the machine's limit"
            )
            if (target is not None and row["ratio"] > target) or difference > SAME_OUTPUTS:
                missed.append(f"{what}, {covered:.2f} covered")
    batch = make_batch(arguments.videos, arguments.snippets, config.hidden_size, covers_all=False)
    rough = copy.deepcopy(ours).eval()
    prepare_to_answer(rough, BFLOAT16)
    forms = answer(rough, batch, False), answer(ours, batch, False)
    difference = float((forms[0]().softmax(-1) - forms[1]().softmax(-1)).abs().max())
    row = ratio(*forms, arguments.rounds, time.process_time)
    figures.append(row | {"what": "answer in bfloat16 over float32", "difference": difference})
    print(
        f"answer in bfloat16: {row['fast']:.3f} s, in float32 {row['plain']:.3f} s, ratio {row['ratio']:.2f} "
        f"({row['least']:.2f} to {row['most']:.2f}); probabilities of snippets differ by at most {difference:.1e}"
    )
    if arguments.output:
        write_json(arguments.output, {"torch": torch.__version__, "limit": limit, "forms": figures})
    if missed:
        sys.exit(f"missed the target: {'; '.join(missed)}")


if __name__ == "__main__":
    run(main)
