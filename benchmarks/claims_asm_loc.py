"""Does refinement pay, and each of its parts? ASM-Loc's claim on the embedded corpus, step by step.

Trains the recipe asm_loc/embedded for every seed, as it is and without one part at a time, and prints the average mAP
(tIoU 0.1 to 0.7) of every step on the test videos, which nothing else looks at: settings were chosen, and the step
that answers is chosen, on validation videos. Then, for the full method, how many actions of each length are found.
With --common_scene the same cascade is trained on embedded/untrimmed-common-scene, where a step may be worse than the
one before it: the run must say so, and the step that it chooses must not be the worse one.

The claim is that the last step of the full method is at least 4 points above its own step 0 and at least 1 point
above that of every variant. Exit status 1 when it is not.

    python benchmarks/claims_asm_loc.py                       # 5 seeds, all variants: 25 runs
    python benchmarks/claims_asm_loc.py --variants full       # refinement alone
    python benchmarks/claims_asm_loc.py --json claims.json    # written after every run, and gone on with
"""

import argparse
import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.text_tables import format_tables

CLAIMED_GAIN, CLAIMED_PART = 4.0, 1.0
VARIANTS = {
    "full": [],
    "without dynamic sampling": ["--model.use_dynamic_sampling", "false"],
    "without intra attention": ["--model.use_intra_attention", "false"],
    "without inter attention": ["--model.use_inter_attention", "false"],
    "without pseudo loss": ["--model.instance_loss_weight", "0"],
}
COMMON_SCENE = "common scene"
OPTIONS = VARIANTS | {COMMON_SCENE: ["--dataset_name", "embedded/untrimmed-common-scene"]}
# Seconds: what counts as short, middle and long.
LENGTHS = {"under 2 s": (0, 2), "2 to 6 s": (2, 6), "over 6 s": (6, np.inf)}
SEGMENTS_A_VIDEO = 20


def main() -> None:
    arguments = parse_arguments()
    done = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.is_file() else {}
    names = [*arguments.variants, *([COMMON_SCENE] if arguments.common_scene else [])]
    # Step by step over the seeds, so that an interrupted run has whole seeds.
    jobs = [(name, seed) for seed in arguments.seeds for name in names if f"{name} {seed}" not in done]
    with ProcessPoolExecutor(arguments.processes, mp_context=get_context("spawn")) as pool:
        # Corpora and features are made once, before several runs would ask for them.
        if jobs:
            for name in {COMMON_SCENE if name == COMMON_SCENE else "full" for name, _ in jobs}:
                pool.submit(train, name, 0, ["--max_steps", "1"]).result()
        futures = {pool.submit(train, *job): job for job in jobs}
        for future in as_completed(futures):
            name, seed = futures[future]
            done[f"{name} {seed}"] = run = future.result()
            print(f"{name}, seed {seed}: {'  '.join(f'{100 * value:.1f}' for value in run['steps'])}")
            sys.stdout.flush()
            if arguments.json:
                write_json(arguments.json, done)
    results = {name: [done[f"{name} {seed}"] for seed in arguments.seeds] for name in names}
    print_steps(results, arguments.seeds)
    if "full" in results:
        print_lengths(results["full"])
        sys.exit(0 if claim_holds(results) else 1)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="default: 0 1 2 3 4")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    parser.add_argument("--common_scene", action="store_true", help="train on the corpus with a common scene as well")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each (default: 2)")
    parser.add_argument("--json", type=Path, help="file for the numbers; runs that it holds are not made again")
    return parser.parse_args()


def train(name: str, seed: int, options: list[str] | None = None) -> dict:
    """Train one run here; give the average mAP of its steps, the step that answers, and what is found by length."""
    import torch

    from hf_vidmodels.commands.train_command import main as train_command

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        command = ["--recipe", "asm_loc/embedded", "--output_dir", folder, "--overwrite_output_dir", "true"]
        command += ["--seed", str(seed), "--eval_split", "test", "--disable_tqdm", "true"]
        train_command([*command, *OPTIONS[name], *(options or [])])
        metrics = json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8"))["metrics"]
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        steps = [metrics[f"average_mAP_step{step}"] for step in range(config["num_trained_steps"])]
        found = found_by_length(folder) if name == "full" and options is None else []
    return {"steps": steps, "answering_step": config["answering_step"], "found_by_length": found}


def found_by_length(folder: str) -> list[list[float]]:
    """Give, for every step and each of `LENGTHS`, the share of test actions that the best segments find."""
    from hf_vidmodels.commands.opened_models import open_model
    from hf_vidmodels.data.corpora import load_corpus
    from hf_vidmodels.data.embedded.embedded_cache import default_cache_dir
    from hf_vidmodels.data.features.corpus_features import add_features
    from hf_vidmodels.data.features.feature_extraction import SnippetFeatureExtractor
    from hf_vidmodels.data.features.video_table import VideoTable

    model = open_model(folder).eval()
    extractor = SnippetFeatureExtractor.from_checkpoint(model)
    corpus = add_features(load_corpus("embedded/untrimmed"), extractor, default_cache_dir(), show_progress=False)
    videos = VideoTable.from_corpus(corpus["test"])
    features = [videos.load(index) for index in range(len(videos))]
    shares = []
    for predictions in model.localize(features, return_all_steps=True, batch_size=32):
        hits, lengths = [], []
        for video_id, prediction in zip(videos.video_ids, predictions, strict=True):
            true = videos.segments[video_id]
            best = np.argsort(-prediction["scores"], kind="stable")[:SEGMENTS_A_VIDEO]
            overlaps = overlap(true["segments"], prediction["segments"][best])
            overlaps[true["labels"][:, None] != prediction["labels"][best]] = 0
            hits.append((overlaps >= 0.5).any(1))
            lengths.append(np.ptp(true["segments"], axis=1))
        hit, length = np.concatenate(hits), np.concatenate(lengths)
        shares.append([float(hit[(length >= low) & (length < high)].mean()) for low, high in LENGTHS.values()])
    return shares


def overlap(ones: np.ndarray, others: np.ndarray) -> np.ndarray:
    """tIoU (N, M) of segments (N, 2) and (M, 2)."""
    starts = np.maximum(ones[:, None, 0], others[None, :, 0])
    common = np.maximum(np.minimum(ones[:, None, 1], others[None, :, 1]) - starts, 0)
    union = np.ptp(ones, axis=1)[:, None] + np.ptp(others, axis=1)[None] - common
    return common / np.maximum(union, 1e-9)


def print_steps(results: dict[str, list[dict]], seeds: list[int]) -> None:
    """Print means over seeds with their standard errors, the gain of every seed, and the chosen steps."""
    rows = []
    for name, runs in results.items():
        values = 100 * np.array([run["steps"] for run in runs])
        gains = " ".join(f"{gain:+.1f}" for gain in values[:, -1] - values[:, 0])
        rows.append([name, *cells(values), gains, " ".join(str(run["answering_step"]) for run in runs)])
    steps = [f"step {step}" for step in range(len(rows[0]) - 3)]
    title = f"average mAP 0.1 to 0.7 in points, mean and standard error of seeds {', '.join(map(str, seeds))}"
    print(format_tables([{"title": title, "columns": ["", *steps, "gain by seed", "answer"], "rows": rows}]))


def print_lengths(runs: list[dict]) -> None:
    """Print what share of the actions of each length the full method finds, step by step."""
    shares = 100 * np.array([run["found_by_length"] for run in runs])
    rows = [[f"step {step}", *cells(shares[:, step])] for step in range(shares.shape[1])]
    title = f"share of test actions that the {SEGMENTS_A_VIDEO} best segments of a video find at tIoU 0.5, full method"
    print(format_tables([{"title": title, "columns": ["", *LENGTHS], "rows": rows}]))


def cells(values: np.ndarray) -> list[str]:
    """Mean and standard error of every column of (runs, columns), as text."""
    return [f"{mean:.1f} ± {error:.1f}" for mean, error in zip(*mean_and_error(values), strict=True)]


def mean_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over the first axis and its standard error, 0 for a lone run."""
    error = values.std(0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.zeros_like(values[0])
    return values.mean(0), error


def claim_holds(results: dict[str, list[dict]]) -> bool:
    """Print by how much the full method is above its own step 0 and above every variant; tell whether by enough."""
    last = {name: 100 * np.array([run["steps"][-1] for run in runs]) for name, runs in results.items()}
    first = 100 * np.array([run["steps"][0] for run in results["full"]])
    comparisons = {"its own step 0": (first, CLAIMED_GAIN)}
    comparisons |= {name: (last[name], CLAIMED_PART) for name in VARIANTS if name in results and name != "full"}
    print()
    holds = True
    for name, (values, claimed) in comparisons.items():
        mean, error = mean_and_error(last["full"] - values)
        holds &= bool(mean >= claimed)
        print(f"full method above {name}: {mean:+.1f} ± {error:.1f} points, claimed {claimed:+.0f} or more")
    return holds


if __name__ == "__main__":
    main()
