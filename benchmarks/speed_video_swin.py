"""Speed of a Video Swin-T against torchvision's, in one run: an answer and a training step of 32 x 224 x 224 pixels.

    python benchmarks/speed_video_swin.py [--rounds 3] [--threads 1] [--output FILE]

Both have the same weights and take the same clip in turns. torchvision's network has the official structure: the bias
of relative positions keeps its attention off the fused kernel. A step is a forward and backward pass with the cross
entropy of one class, and AdamW, of which torchvision's network takes one operation after the other. Its rate is zero:
gradients would vanish with the loss, and denormal numbers are slow. Times are the process's own; the share is of the
best matrix product of the run. The command fails when an answer of ours takes more than 0.5, or a step more than 0.65
of torchvision's time, or logits differ.
"""

import sys
import time
from collections.abc import Callable

import torch
from machine_limit import best_product, operations
from timed_forms import ratio, speed_parser
from torch import nn
from torchvision.models.video import swin3d_t
from torchvision.ops import StochasticDepth

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.command_line import run
from hf_vidmodels.conversion.convert_stts import convert_stts

FRAMES, SIDE = 32, 224
TARGETS = {"answer": 0.5, "training step": 0.65}
# Of the greatest.
SAME_LOGITS = 1e-4


def main() -> None:
    """Measure, print, and fail when a target is missed."""
    arguments = speed_parser(__doc__, rounds=3).parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    # Without dropped paths, which both would draw in another order.
    plain = swin3d_t(weights=None)
    for block in plain.modules():
        if isinstance(block, StochasticDepth):
            block.p = 0.0
    options = {"backbone_config": {"num_frames": FRAMES, "image_size": SIDE, "drop_path_rate": 0.0}}
    ours = convert_stts(plain.state_dict(), options)
    clip = torch.randn(1, FRAMES, 3, SIDE, SIDE)
    channels_first = clip.transpose(1, 2).contiguous()
    answers = {"fast": lambda: ours(clip).logits, "plain": lambda: plain(channels_first)}
    limit = best_product()
    rows = {}
    with torch.inference_mode():
        plain.eval(), ours.eval()
        expected, found = answers["plain"](), answers["fast"]()
        difference = float((found - expected).abs().max() / expected.abs().max())
        rows["answer"] = measure(answers, arguments.rounds, limit)
    plain.train(), ours.train()
    steps = {
        "fast": training_step(ours, answers["fast"], is_fused=True),
        "plain": training_step(plain, answers["plain"], is_fused=False),
    }
    rows["training step"] = measure(steps, arguments.rounds, limit)
    for what, row in rows.items():
        print(
            f"{what} of Video Swin-T, one clip of {FRAMES} x {SIDE} x {SIDE}: ours {row['fast']:.2f} s, torchvision's "
            f"{row['plain']:.2f} s, ratio {row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f}) of at most "
            f"{TARGETS[what]}; {row['of_limit']:.2f} of the limit of {limit / 1e9:.0f} GFLOP/s"
        )
    print(f"logits differ by {difference:.1e} of the greatest")
    if arguments.output:
        write_json(arguments.output, {"torch": torch.__version__, "limit": limit, "difference": difference, **rows})
    missed = [what for what, row in rows.items() if row["ratio"] > TARGETS[what]]
    missed += ["equal logits"] if difference > SAME_LOGITS else []
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


def training_step(model: nn.Module, answer: Callable[[], torch.Tensor], is_fused: bool) -> Callable[[], None]:
    """Give a step of one clip of class 0."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=is_fused, foreach=False)
    label = torch.zeros(1, dtype=torch.long)

    def step() -> None:
        nn.functional.cross_entropy(answer(), label).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(calls: dict[str, Callable], rounds: int, limit: float) -> dict[str, float]:
    """Time ours and torchvision's in turns, and say how near ours comes to the machine's limit."""
    row = ratio(calls["fast"], calls["plain"], rounds, time.process_time)
    return row | {"of_limit": operations(calls["fast"]) / row["fast"] / limit}


if __name__ == "__main__":
    run(main)
