"""What hierarchical motion costs: the contrastive loss without the matrix of all pairs, the cost volume, and a network
with motion.

Measured in processor time of one thread, both sides in turns: the contrastive loss of 20,000 predictions, forward and
backward, against the same loss on the whole matrix, with the peaks of memory of processes of their own; the cost
volume of res2 of Slow-R50 against a loop over its 169 offsets; and Slow-R50 with the prime level of motion, and with
all levels, against itself without. Claimed are at most 0.25 of the memory and 1.2 of the time, 3 times the speed, and
at most 20 % more time for the prime level. Exit status 1 when one does not hold.

    python benchmarks/speed_hierarchical_motion.py
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from timed_forms import time_in_turn

from hf_vidmodels import HierarchicalMotionConfig, HierarchicalMotionForVideoClassification
from hf_vidmodels.modeling.ops.contrastive_loss import contrastive_loss
from hf_vidmodels.modeling.ops.cost_volume import cost_volume

CLIPS, FRAMES, SIDE, WIDTH = 8, 8, 19, 128  # 8 x 7 x 19 x 19 = 20,216 predictions
TEMPERATURE = 0.07
MOST_MEMORY, MOST_TIME, LEAST_SPEED, MOST_OVERHEAD = 0.25, 1.2, 3.0, 0.2


def main() -> None:
    arguments = parse_arguments()
    if arguments.part is not None:
        run_alone(arguments.part)
        return
    torch.set_num_threads(1)
    parts = [compare_contrastive_loss(arguments), compare_cost_volume(arguments), compare_network(arguments)]
    sys.exit(0 if all(parts) else 1)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default: 5)")
    parser.add_argument("--part", choices=("blocks", "matrix", "nothing"), help=argparse.SUPPRESS)
    return parser.parse_args()


def maps() -> list[torch.Tensor]:
    """Make predictions and features."""
    generator = torch.Generator().manual_seed(0)
    shape = (CLIPS, WIDTH, FRAMES, SIDE, SIDE)
    return [torch.randn(shape, generator=generator).requires_grad_(learns) for learns in (True, False)]


def whole_matrix_loss(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Give the loss by the matrix of all pairs, as it is commonly written."""
    rows, keys = (
        torch.nn.functional.normalize(part.permute(0, 2, 3, 4, 1).flatten(0, 3), dim=1)
        for part in (predictions[:, :, :-1], targets[:, :, 1:])
    )
    return torch.nn.functional.cross_entropy(rows @ keys.T / TEMPERATURE, torch.arange(len(rows)))


def learn_by_blocks(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Give the package's loss after its backward pass."""
    loss, _ = contrastive_loss(predictions, targets, temperature=TEMPERATURE)
    loss.backward()
    return loss.detach()


def learn_by_matrix(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Give the same by the whole matrix."""
    loss = whole_matrix_loss(predictions, targets)
    loss.backward()
    return loss.detach()


def run_alone(part: str) -> None:
    """Run one side in this process and print its peak of memory in bytes."""
    torch.set_num_threads(1)
    made = maps()
    if part != "nothing":
        {"blocks": learn_by_blocks, "matrix": learn_by_matrix}[part](*made)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def peak_of(part: str) -> int:
    """Give the peak of memory of a process that runs one side."""
    done = subprocess.run([sys.executable, __file__, "--part", part], capture_output=True, text=True, check=True)
    return int(done.stdout)


def seconds_of(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Give the median of the processor time of each side."""
    return {name: float(np.median(times)) for name, times in time_in_turn(sides, rounds, time.process_time).items()}


def compare_contrastive_loss(arguments: argparse.Namespace) -> bool:
    # Before this process grows: on Linux one that it starts begins with its peak.
    peaks = {part: peak_of(part) for part in ("nothing", "blocks", "matrix")}
    made = maps()
    torch.testing.assert_close(learn_by_blocks(*made), learn_by_matrix(*made))
    memory = {part: peaks[part] - peaks["nothing"] for part in ("blocks", "matrix")}
    seconds = seconds_of(
        {"blocks": lambda: learn_by_blocks(*made), "matrix": lambda: learn_by_matrix(*made)}, arguments.rounds
    )
    share, factor = memory["blocks"] / memory["matrix"], seconds["blocks"] / seconds["matrix"]
    count = CLIPS * (FRAMES - 1) * SIDE**2
    print(
        f"contrastive loss of {count} predictions: {memory['blocks'] / 2**20:.0f} MiB against "
        f"{memory['matrix'] / 2**20:.0f} MiB of the whole matrix, {seconds['blocks']:.2f} s against "
        f"{seconds['matrix']:.2f} s"
    )
    remembers = tell(share <= MOST_MEMORY, f"{share:.3f} of the memory, at most {MOST_MEMORY}")
    return tell(factor <= MOST_TIME, f"{factor:.2f} of the time, at most {MOST_TIME}") and remembers


def loop_over_offsets(features: torch.Tensor, max_displacement: int) -> torch.Tensor:
    """Make a cost volume offset by offset, each a product of shifted maps."""
    height, width = features.shape[-2:]
    following = torch.cat((features[:, :, 1:], features[:, :, -1:]), dim=2)
    padded = torch.nn.functional.pad(following, (max_displacement,) * 4)
    size = 2 * max_displacement + 1
    scores = [
        (features * padded[..., top : top + height, left : left + width]).mean(1)
        for top in range(size)
        for left in range(size)
    ]
    return torch.stack(scores, dim=1)


@torch.no_grad()
def compare_cost_volume(arguments: argparse.Namespace) -> bool:
    features = torch.randn(1, 64, 8, 56, 56, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cost_volume(features, 6), loop_over_offsets(features, 6), atol=1e-5, rtol=1e-4)
    sides = {"ours": lambda: cost_volume(features, 6), "loop": lambda: loop_over_offsets(features, 6)}
    seconds = seconds_of(sides, arguments.rounds)
    factor = seconds["loop"] / seconds["ours"]
    print(f"cost volume of 169 offsets of res2: {seconds['ours']:.3f} s, loop {seconds['loop']:.3f} s")
    return tell(factor >= LEAST_SPEED, f"{factor:.1f} times as fast as the loop, at least {LEAST_SPEED}")


@torch.no_grad()
def compare_network(arguments: argparse.Namespace) -> bool:
    clip = torch.randn(1, 8, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    sides = {}
    prime = {"motion_stages": ["res2"], "motion_hidden_sizes": [64]}
    for name, fields in (("without", {"fusion_type": "none"}), ("prime", prime), ("all", {})):
        config = HierarchicalMotionConfig.from_preset("slow_r50_8x8", training_phase="finetune", **fields)
        model = HierarchicalMotionForVideoClassification(config).eval()
        sides[name] = lambda model=model: model(clip)
    seconds = seconds_of(sides, arguments.rounds)
    more = {name: 100 * (seconds[name] / seconds["without"] - 1) for name in ("prime", "all")}
    print(
        f"Slow-R50 8x8 on one clip: {seconds['without']:.2f} s without motion, {seconds['prime']:.2f} s with the "
        f"prime level, {seconds['all']:.2f} s with all three ({more['all']:.0f} % more)"
    )
    return tell(
        more["prime"] <= 100 * MOST_OVERHEAD,
        f"{more['prime']:.0f} % more time for the prime level, at most {100 * MOST_OVERHEAD:.0f} %",
    )


def tell(holds: bool, sentence: str) -> bool:
    """Print one part of what is claimed and whether it holds."""
    print(f"{'holds' if holds else 'FAILS'}: {sentence}", flush=True)
    return holds


if __name__ == "__main__":
    main()
