"""Does it pay that the clips of a video share a memory? The claim of Collaborative Memory on the embedded stories.

The recipe collaborative_memory/embedded is trained with every seed as it is, and with what it is compared with: the
same network on single clips, as many of them in a step, whose answers to the same views of a video are averaged; the
same network on the clips of a video together, which only vote; and other memories and other ways to use one. All but
the first begin with the stage on single clips. All through scripts/train.py, scored on the split "test"; settings were
chosen on "validation".

Printed are the multiply-adds of a view over those of the network without memory, top-1 accuracies of every seed, their
means and standard deviations. The claim: with the memory a video is classified at least 5 points better than by single
clips. Exit status 1 when it does not hold.

    python benchmarks/claims_collaborative_memory.py                    # 3 seeds: 24 runs of a few minutes
    python benchmarks/claims_collaborative_memory.py --runs runs/claim  # goes on where it was stopped
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from benchmark_parts import train_recipe
from claim_runs import claim_parser, print_claim, read_scores, run_all
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from hf_vidmodels import CollaborativeMemoryConfig, CollaborativeMemoryForVideoClassification
from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.data.embedded.embedded_corpora import make_embedded_corpus
from hf_vidmodels.training.recipe_files import find_recipe, read_recipe

RECIPE = "collaborative_memory/embedded"
NUM_CLIPS = CollaborativeMemoryConfig.presets["embedded-memory"]["num_clips"]
MEMORY, SINGLE, VOTE = "associative, gating", "single clips", "clips vote"
LEAST_GAIN = 0.05


def main() -> None:
    variants = options_of_variants()
    parser = claim_parser(__doc__)
    parser.add_argument("--variants", nargs="+", choices=variants, default=list(variants), help="default: all")
    arguments = parser.parse_args()
    make_embedded_corpus("stories")
    results = run_all(arguments.variants, arguments, partial(train, arguments.split, variants))
    accuracies = {
        name: np.array([results[name, seed]["top1"] for seed in arguments.seeds]) for name in arguments.variants
    }
    costs = {name: results[name, arguments.seeds[0]]["gflops"] for name in arguments.variants}
    print_table(accuracies, costs, arguments)
    print(f"\nbeside slow_r50, 8 frames of 224 by 224 pixels, the memory adds {100 * added_to_slow_r50():.2f} %")
    if arguments.json is not None:
        top1 = {name: values.tolist() for name, values in accuracies.items()}
        write_json(arguments.json, {"split": arguments.split, "seeds": arguments.seeds, "top1": top1, "gflops": costs})
    if {MEMORY, SINGLE} <= accuracies.keys():
        gain = accuracies[MEMORY].mean() - accuracies[SINGLE].mean()
        sentence = f"{100 * gain:+.1f} points above {SINGLE}, claimed {100 * LEAST_GAIN:+.0f} or more"
        holds = print_claim([(gain >= LEAST_GAIN, sentence)])
        sys.exit(0 if holds else 1)


def options_of_variants() -> dict[str, list[str]]:
    """Give what each variant changes in the recipe."""
    _, recipe = read_recipe(find_recipe(RECIPE))
    clips = recipe["per_device_train_batch_size"] * NUM_CLIPS
    # As often as all stages of the recipe together look at every video.
    epochs = sum(stage.get("num_train_epochs", recipe["num_train_epochs"]) for stage in recipe["stages"])
    alone = ["--stages", "none", "--model.memory_type", "none", "--model.num_clips", "1"]
    alone += ["--per_device_train_batch_size", str(clips), "--num_train_epochs", str(epochs)]
    memories = {
        f"{memory}, gating": ["--model.memory_type", memory]
        for memory in ("associative_softmax", "average", "self_attention")
    }
    infusions = {
        f"associative, {infusion}": ["--model.infusion_type", infusion] for infusion in ("gating_residual", "residual")
    }
    return {
        SINGLE: alone,
        VOTE: ["--model.memory_type", "none"],
        MEMORY: [],
        **memories,
        **infusions,
    }


def train(split: str, variants: dict[str, list[str]], output_dir: Path, name: str, seed: int) -> dict[str, float]:
    """Train a variant unless its run is finished; give its accuracy and a view's multiply-adds in units of 1e9."""
    if not (output_dir / "metrics.json").is_file():
        shared = ["--eval_split", split, "--save_strategy", "no", "--overwrite_output_dir", "true"]
        train_recipe(RECIPE, output_dir, seed, [*shared, *variants[name]])
    content = read_scores(output_dir, split)
    cost = dict(content["tables"][0]["rows"])["GFLOPs a view, measured"]
    return {"top1": content["metrics"]["top1_accuracy"], "gflops": cost}


def added_to_slow_r50() -> float:
    """Give the share of multiply-adds that an associative memory adds to a network of real size."""
    flops = []
    for memory_type in ("none", "associative"):
        config = CollaborativeMemoryConfig.from_preset("slow_r50_8x8", memory_type=memory_type)
        # Shapes alone are needed.
        with FakeTensorMode(), FlopCounterMode(display=False) as counter, torch.no_grad():
            model = CollaborativeMemoryForVideoClassification(config).eval()
            model(torch.empty(1, config.num_clips, config.num_frames, 3, 224, 224))
        flops.append(counter.get_total_flops())
    return flops[1] / flops[0] - 1


def print_table(accuracies: dict[str, np.ndarray], costs: dict[str, float], arguments: argparse.Namespace) -> None:
    """Print means and standard deviations over seeds, every seed's value, and what each costs beside the network."""
    print(f"\ntop-1 in points on {arguments.split}, seeds {', '.join(map(str, arguments.seeds))}")
    print(f"{'memory, use of it':30}{'GFLOPs a view':>14}{'more':>8}{'top-1':>8}{'± std':>7}   by seed")
    plain = costs.get(VOTE, costs.get(SINGLE))
    for name, values in accuracies.items():
        more = "" if plain is None else f"{100 * (costs[name] / plain - 1):+.2f} %"
        spread = values.std(ddof=1) if len(values) > 1 else 0.0
        by_seed = " ".join(f"{100 * value:.1f}" for value in values)
        print(f"{name:30}{costs[name]:14.5f}{more:>8}{100 * values.mean():8.1f}{100 * spread:7.1f}   {by_seed}")


if __name__ == "__main__":
    main()
