"""Do progressive steps find people better than one, and does it pay that tubes become longer? STEP's claim on the
embedded tubes.

For every seed two detectors are trained by the recipe step/embedded: as it is, where the last step's tubes are three
chunks long by boxes that the step before has learned to foresee; and with tubes of one chunk in every step, on such
clips. All steps of both answer. Scored on the split "test"; settings were chosen on "validation".

The claim: frame-mAP@0.5 of the third step is at least 5 points above that of the first, and above that of the detector
whose tubes stay short. Video-mAP of linked tubes is printed beside it. Exit status 1 when it does not hold.

    python benchmarks/claims_step.py                            # 3 seeds: 6 runs of a few minutes
    python benchmarks/claims_step.py --runs runs/claims_step    # goes on where it was stopped
"""

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from benchmark_parts import run_script, train_recipe
from tqdm.auto import tqdm

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.data.embedded.embedded_corpora import make_embedded_corpus

RECIPE, CORPUS, SPLIT = "step/embedded", "tubes", "test"
EXTENDED, SHORT = "extended", "not extended"
VARIANTS = {
    EXTENDED: [],
    SHORT: ["--model.chunks_per_step", "[1, 1, 1]"],
}
NUM_STEPS = 3
FRAMES, METRICS = "mAP@0.5", ("mAP@0.5", "video_mAP@0.2", "video_mAP@0.5")
LEAST_GAIN = 0.05


def main() -> None:
    arguments = parse_arguments()
    make_embedded_corpus(CORPUS)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(arguments.processes) as pool:
        folder = Path(temporary) if arguments.runs is None else arguments.runs
        # Seed by seed, so that runs that are stopped leave whole comparisons.
        jobs = {
            (variant, seed): pool.submit(
                train_and_score,
                folder / f"{variant.replace(' ', '_')}-{seed}",
                seed,
                words,
                arguments.split,
            )
            for seed in arguments.seeds
            for variant, words in VARIANTS.items()
        }
        results = {key: job.result() for key, job in tqdm(jobs.items(), unit="run")}
    values = {variant: np.array([results[variant, seed] for seed in arguments.seeds]) for variant in VARIANTS}
    print_table(values, arguments)
    if arguments.json is not None:
        content = {variant: of_variant.tolist() for variant, of_variant in values.items()}
        axes = {"axes": ["seed", "step", "metric"], "metrics": METRICS}
        write_json(arguments.json, {"split": arguments.split, "seeds": arguments.seeds, **axes, "values": content})
    sys.exit(0 if claim_holds(values) else 1)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--split", default=SPLIT, help="to choose settings: validation (default: test)")
    parser.add_argument("--runs", type=Path, help="folder that keeps the runs; what is in it is not done again")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each (default: 2)")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    return parser.parse_args()


def train_and_score(output_dir: Path, seed: int, options: list[str], split: str) -> list[list[float]]:
    """Train one detector and let every step answer, unless that was done; give `METRICS` of each step."""
    if not (output_dir / "metrics.json").is_file():
        words = ["--eval_split", split, "--save_strategy", "no", "--overwrite_output_dir", "true"]
        train_recipe(RECIPE, output_dir, seed, [*options, *words])
    folders = [output_dir / f"step{step + 1}" for step in range(NUM_STEPS - 1)]
    for step, folder in enumerate(folders):
        if not (folder / "metrics.json").is_file():
            evaluate_step(output_dir, folder, step, split)
    return [read_metrics(folder, split) for folder in (*folders, output_dir)]


def evaluate_step(model: Path, output_dir: Path, step: int, split: str) -> None:
    """Score one step of a trained detector through scripts/evaluate.py."""
    words = ["--model", str(model), "--dataset_name", f"embedded/{CORPUS}", "--split", split, "--step", str(step)]
    run_script("evaluate.py", [*words, "--output_dir", str(output_dir)])


def read_metrics(folder: Path, split: str) -> list[float]:
    """Give `METRICS` of a run or an evaluation.

    Raises:
        ValueError: it was scored on another split.
    """
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    if content["split"] != split:
        raise ValueError(f"{folder} was scored on {content['split']}, not on {split}; give another folder")
    return [content["metrics"][name] for name in METRICS]


def print_table(values: dict[str, np.ndarray], arguments: argparse.Namespace) -> None:
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
    print()
    for holds, sentence in parts:
        print(f"{'holds' if holds else 'FAILS'}: {sentence}")
    return all(holds for holds, _ in parts)


if __name__ == "__main__":
    main()
