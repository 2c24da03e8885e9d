"""Speed of a training step of STTS on MViT-B against the form of the official code, in one run on one thread.

    python benchmarks/speed_stts_training.py [--rounds 5] [--preset mvit-b-16x4-t0.9-s0.9] [--clips 1]

Both forms have the same weights and see the same clips of 16 x 224 x 224, dropout and noise. The official form is
rebuilt here (parts that cost little are ours): it lays channels before frames, pools with the heads in the batch,
writes out attention and the one-hot tensor of the relaxed choice, projects every key and value, also of tokens that
strides jump over, and every patch of the last block, has PyTorch's gradients of depthwise convolutions and of whole
MLPs, and takes AdamW one operation after the other. A step is a forward and backward pass with the cross entropy of
one class, and AdamW. Times are the process's own; the share is of the best matrix product of the run. The command
fails when a step of ours takes more than 0.75 of the official form's time.
"""

import copy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from machine_limit import best_product, operations
from speed_stts import LiteralTopK
from timed_forms import as_plain, ratio, speed_parser
from torch import nn

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.command_line import run
from hf_vidmodels.configuration.configuration_stts import SttsConfig
from hf_vidmodels.modeling.backbones import mvit, video_transformer
from hf_vidmodels.modeling.layers import token_selection
from hf_vidmodels.modeling.modeling_stts import SttsForVideoClassification

TARGET = 0.75
# Of losses, which differ by rounding alone.
SAME_LOSS = 1e-5


def pool_heads_in_batch(pooling: mvit.HeadPooling, maps: torch.Tensor, stride: tuple[int, ...]) -> torch.Tensor:
    """Pool (B, heads * d, T, H, W) as the official code does: every head is a clip of its own, channels first."""
    weight = pooling.convolution.weight
    heads = maps.unflatten(1, (-1, len(weight))).flatten(0, 1).contiguous()
    kernel = pooling.pooling.kernel
    pooled = nn.functional.conv3d(heads, weight, stride=stride, padding=mvit.half_of(kernel), groups=len(weight))
    return pooled.unflatten(0, (len(maps), -1)).flatten(1, 2)


def attend_with_weights(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **_: Any
) -> tuple[torch.Tensor, None]:
    """Attend with the matrix of weights written out, which is scaled after the product."""
    weights = ((query @ key.transpose(-2, -1)) * query.shape[-1] ** -0.5).softmax(-1)
    return weights @ value, None


def slice_class_token(tokens: torch.Tensor, _: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Part tokens (B, N, C) by two slices."""
    return tokens[:, :1], tokens[:, 1:]


def project_channels_first(projection: nn.Conv3d, pixel_values: torch.Tensor) -> torch.Tensor:
    """Convolve (B, T, 3, H, W) with channels before frames; (B, T', H', W', channels)."""
    return projection(pixel_values.transpose(1, 2).contiguous()).permute(0, 2, 3, 4, 1)


def literal_topk(scores: torch.Tensor, k: int, sigma: float, *, num_samples: int, **_: Any) -> torch.Tensor:
    """Relax by an indicator matrix for every sample."""
    return LiteralTopK.apply(scores, torch.randn(len(scores), num_samples, scores.shape[1]), k, sigma)


@contextmanager
def official_form() -> Iterator[None]:
    """Let networks compute as the official code does."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(mvit.HeadPooling, "_pool_maps", pool_heads_in_batch))
        stack.enter_context(patch.object(mvit, "split_class_token", slice_class_token))
        stack.enter_context(patch.object(mvit, "attend", attend_with_weights))
        stack.enter_context(patch.object(mvit, "jumps_over_tokens", lambda *_: False))
        stack.enter_context(patch.object(mvit.MvitBlock, "may_leave_out_patches", False))
        stack.enter_context(patch.object(mvit, "project_patches", project_channels_first))
        stack.enter_context(patch.object(video_transformer, "takes_cached_mlp", lambda *_: False))
        stack.enter_context(patch.object(token_selection, "perturbed_topk", literal_topk))
        yield


def training_step(
    model: SttsForVideoClassification, batch: dict[str, torch.Tensor], is_fused: bool
) -> Callable[[], float]:
    """Give a step; equal models draw equal dropout and noise, and a rate of zero keeps them equal."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.05, fused=is_fused)

    def step() -> float:
        torch.manual_seed(0)
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def main() -> None:
    """Measure, print, and fail when the target is missed."""
    parser = speed_parser(__doc__, rounds=5)
    parser.add_argument("--preset", default="mvit-b-16x4-t0.9-s0.9", help="preset of STTS with an MViT")
    parser.add_argument("--clips", type=int, default=1, help="clips in a batch (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = SttsForVideoClassification(SttsConfig.from_preset(arguments.preset)).train()
    batch = {
        "pixel_values": torch.randn(arguments.clips, 16, 3, 224, 224),
        "labels": torch.zeros(arguments.clips, dtype=torch.long),
    }
    limit = best_product()
    ours = training_step(model, batch, is_fused=True)
    official = as_plain(training_step(copy.deepcopy(model), batch, is_fused=False), official_form)
    difference = abs(ours() - official())
    row = ratio(ours, official, arguments.rounds, time.process_time)
    row |= {"preset": arguments.preset, "difference": difference, "of_limit": operations(ours) / row["fast"] / limit}
    print(
        f"training step of {arguments.preset}, {arguments.clips} clip(s): ours {row['fast']:.2f} s, official form "
        f"{row['plain']:.2f} s, ratio {row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f}) of at most "
        f"{TARGET}; losses differ by {difference:.1e}; {row['of_limit']:.2f} of the limit of {limit / 1e9:.0f} GFLOP/s"
    )
    if arguments.output:
        write_json(arguments.output, {"torch": torch.__version__, "limit": limit, **row})
    if row["ratio"] > TARGET or difference > SAME_LOSS:
        sys.exit("missed the target")


if __name__ == "__main__":
    run(main)
