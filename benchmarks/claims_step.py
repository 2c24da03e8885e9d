"""Do progressive steps find people better than one, and does it pay that tubes become longer? STEP's claim on the
embedded tubes.

For every seed two detectors are trained by the recipe step/embedded: as it is, where the last step's tubes are three
chunks long by boxes that the step before has learned to foresee; and with tubes of one chunk in every step, on such
clips. All steps of both answer. Scored on the split "test"; settings were chosen on "validation".

The claim: frame-mAP@0.5 of the third step is at least 5 points above that of the first, and above that of the detector
whose tubes stay short. Video-mAP of linked tubes is printed beside it. Exit status 1 when it does not hold.

    python benchmarks/claims_step.py                            # 3 seeds: 6 runs of about twenty minutes
    python benchmarks/claims_step.py --runs runs/claims_step    # goes on where it was stopped
"""

import sys
from argparse import Namespace
from functools import partial
from pathlib import Path

import numpy as np
from benchmark_parts import run_script, train_recipe
from claim_runs import claim_parser, print_claim, read_scores, run_all

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.data.embedded.embedded_corpora import make_embedded_corpus

RECIPE, CORPUS = "step/embedded", "tubes"
EXTENDED, SHORT = "extended", "not extended"
VARIANTS = {
    EXTENDED: [],
    SHORT: ["--model.chunks_per_step", "[1, 1, 1]"],
}
NUM_STEPS = 3
FRAMES, METRICS = "mAP@0.5", ("mAP@0.5", "video_mAP@0.2", "video_mAP@0.5")
LEAST_GAIN = 0.05


def main() -> None:
    arguments = claim_parser(__doc__).parse_args()
    make_embedded_corpus(CORPUS)
    results = run_all(VARIANTS, arguments, partial(train_and_score, arguments.split))
    values = {variant: np.array([results[variant, seed] for seed in arguments.seeds]) for variant in VARIANTS}
    print_table(values, arguments)
    if arguments.json is not None:
        content = {variant: of_variant.tolist() for variant, of_variant in values.items()}
        axes = {"axes": ["seed", "step", "metric"], "metrics": METRICS}
        write_json(arguments.json, {"split": arguments.split, "seeds": arguments.seeds, **axes, "values": content})
    sys.exit(0 if claim_holds(values) else 1)


def train_and_score(split: str, output_dir: Path, variant: str, seed: int) -> list[list[float]]:
    """Train one detector and let every step answer, unless that was done; give `METRICS` of each step."""
    if not (output_dir / "model.safetensors").is_file():
        words = ["--eval_strategy", "no", "--save_strategy", "no", "--overwrite_output_dir", "true"]
        train_recipe(RECIPE, output_dir, seed, [*VARIANTS[variant], *words])
    folders = [output_dir / f"{split}-step{step + 1}" for step in range(NUM_STEPS)]
    for step, folder in enumerate(folders):
        if not (folder / "metrics.json").is_file():
            evaluate_step(output_dir, folder, step, split)
    scores = [read_scores(folder, split)["metrics"] for folder in folders]
    return [[of_step[name] for name in METRICS] for of_step in scores]


def evaluate_step(model: Path, output_dir: Path, step: int, split: str) -> None:
    """Score one step of a trained detector through scripts/evaluate.py."""
    words = ["--model", str(model), "--dataset_name", f"embedded/{CORPUS}", "--split", split, "--step", str(step)]
    run_script("evaluate.py", [*words, "--output_dir", str(output_dir)])


def print_table(values: dict[str, np.ndarray], arguments: Namespace) -> None:
    """Print the means over seeds of every step, and the frame-mAP of every seed."""
    seeds = ", ".join(map(str, arguments.seeds))
    print(f"\nin points on {arguments.split}, mean of {len(arguments.seeds)} seeds ({seeds})")
    print(f"{'tubes':14}{'step':>5}" + "".join(f"{name:>15}" for name in METRICS) + f"   {FRAMES} by seed")
    for variant, of_variant in values.items():
        for step in range(NUM_STEPS):
            means = "".join(f"{100 * value:15.1f}" for value in of_variant[:, step].mean(0))
            by_seed = " ".join(f"{100 * value:.1f}" for value in of_variant[:, step, 0])
            print(f"{variant:14}{step + 1:5}{means}   {by_seed}")


def claim_holds(values: dict[str, np.ndarray]) -> bool:
    """Print each part of the claim with what was measured, and whether all hold."""
    frames = {variant: of_variant[:, :, METRICS.index(FRAMES)].mean(0) for variant, of_variant in values.items()}
    last = {variant: float(of_variant[-1]) for variant, of_variant in frames.items()}
    by_steps = last[EXTENDED] - float(frames[EXTENDED][0])
    parts = [
        (
            by_steps >= LEAST_GAIN,
            f"step {NUM_STEPS} {100 * by_steps:+.1f} points above step 1, claimed {100 * LEAST_GAIN:+.0f} or more",
        ),
        (
            last[EXTENDED] > last[SHORT],
            f"tubes that become longer {100 * (last[EXTENDED] - last[SHORT]):+.1f} points above those that do not, "
            "claimed more than 0",
        ),
    ]
    return print_claim(parts)


if __name__ == "__main__":
    main()
