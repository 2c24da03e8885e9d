"""Does refinement pay? ASM-Loc's claim, and its parts switched off one by one, on the embedded corpus.

Trains the recipe asm_loc/embedded for every seed and variant through scripts/train.py, and prints the average mAP
(tIoU 0.1 to 0.7) of every step on the held-out videos: mean over seeds, in points. The claim is that the last step of
the full method is at least 3 points above its own step 0. Exit status 1 when it is not.

    python benchmarks/claims_asm_loc.py                       # 3 seeds, all variants: 15 runs
    python benchmarks/claims_asm_loc.py --variants full       # the claim alone
    python benchmarks/claims_asm_loc.py --json claims.json
"""

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from benchmark_parts import train_recipe
from tqdm.auto import tqdm

from hf_vidmodels.atomic_io import write_json

CLAIMED_GAIN = 0.03
VARIANTS = {
    "full": [],
    "without dynamic sampling": ["--model.use_dynamic_sampling", "false"],
    "without intra attention": ["--model.use_intra_attention", "false"],
    "without inter attention": ["--model.use_inter_attention", "false"],
    "without pseudo loss": ["--model.instance_loss_weight", "0"],
}


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.processes) as pool:
        # Corpus and features are made once, before several runs would ask for them.
        train(Path(folder) / "warm-up", 0, ["--max_steps", "1"])
        jobs = {
            (variant, seed): pool.submit(train, Path(folder) / f"{number}-{seed}", seed, VARIANTS[variant])
            for number, variant in enumerate(arguments.variants)
            for seed in arguments.seeds
        }
        averages = {key: job.result() for key, job in tqdm(jobs.items(), unit="run")}
    per_variant = {
        variant: np.array([averages[variant, seed] for seed in arguments.seeds]) for variant in arguments.variants
    }
    print_table(per_variant, arguments.seeds)
    if arguments.json is not None:
        values = {variant: values.tolist() for variant, values in per_variant.items()}
        write_json(arguments.json, {"seeds": arguments.seeds, "average_mAP_of_steps": values})
    if "full" in per_variant:
        gain = float((per_variant["full"][:, -1] - per_variant["full"][:, 0]).mean())
        holds = gain >= CLAIMED_GAIN
        print(
            f"\nfull method above its own step 0: {100 * gain:+.1f} points, claimed {100 * CLAIMED_GAIN:+.0f} or more"
        )
        sys.exit(0 if holds else 1)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each (default: 2)")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    return parser.parse_args()


def train(output_dir: Path, seed: int, options: list[str]) -> list[float]:
    """Train one run; give the average mAP of each step."""
    train_recipe("asm_loc/embedded", output_dir, seed, options)
    metrics = json.loads((output_dir / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    num_steps = sum(name.startswith("average_mAP_step") for name in metrics)
    return [metrics[f"average_mAP_step{step}"] for step in range(num_steps)]


def print_table(per_variant: dict[str, np.ndarray], seeds: list[int]) -> None:
    """Print means over seeds, and the gain of every seed."""
    num_steps = next(iter(per_variant.values())).shape[1]
    width = max(map(len, per_variant))
    steps = "".join(f"{f'step {step}':>9}" for step in range(num_steps))
    print(f"\naverage mAP 0.1 to 0.7 in points, mean of {len(seeds)} seeds ({', '.join(map(str, seeds))})")
    print(f"{'':{width}}{steps}{'gain':>9}   gain by seed")
    for variant, values in per_variant.items():
        gains = 100 * (values[:, -1] - values[:, 0])
        means = "".join(f"{100 * value:9.1f}" for value in values.mean(0))
        print(f"{variant:{width}}{means}{gains.mean():+9.1f}   {' '.join(f'{gain:+.1f}' for gain in gains)}")


if __name__ == "__main__":
    main()
