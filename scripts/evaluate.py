"""Score a trained model on a split of a corpus, step by step where it has steps.

Prints the table and writes metrics.json, predictions.json (ActivityNet results form) and a sheet of timelines:
    python scripts/evaluate.py --model runs/asm_loc --corpus embedded/untrimmed --split test --output_dir evaluation
    python scripts/evaluate.py --model org/asm-loc-thumos --corpus thumos14 --data_dir thumos --split test \
        --output_dir evaluation

A corpus of videos without features is scored too when the checkpoint carries its feature extractor.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModel
from transformers.utils import logging

from hf_vidmodels.atomic_io import write_json
from hf_vidmodels.command_line import run
from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.data.corpus_features import add_features
from hf_vidmodels.data.embedded_cache import default_cache_dir
from hf_vidmodels.data.feature_extraction import SnippetFeatureExtractor
from hf_vidmodels.data.video_table import VideoTable, warn_of_other_rate
from hf_vidmodels.training.localization_evaluation import draw_examples, evaluate_localization
from hf_vidmodels.training.run_files import format_tables, results_record
from hf_vidmodels.visualization.timelines import save_figure

TASK = "temporal-action-localization"


def main() -> None:
    """Read the command line, run the model over the split and report."""
    arguments = parse_arguments()
    logging.disable_progress_bar()
    model = AutoModel.from_pretrained(arguments.model)
    if not hasattr(model, "localize"):
        raise ValueError(f"{arguments.model} is a {type(model).__name__}; this script scores models that `localize`")
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device).eval()
    corpus = load_corpus(arguments.corpus, data_dir=arguments.data_dir, task=TASK)
    if arguments.split not in corpus:
        raise ValueError(f"{arguments.corpus} has no split {arguments.split!r}, it has {', '.join(corpus)}")
    refuse_other_classes(model.config.id2label, corpus[arguments.split].features["labels"].feature.names)
    if "features" not in corpus[arguments.split].column_names:
        extractor = SnippetFeatureExtractor.from_checkpoint(model, device=device)
        corpus = add_features(corpus, extractor, default_cache_dir(), num_processes=arguments.feature_processes)
    videos = VideoTable.from_corpus(corpus[arguments.split])
    warn_of_other_rate([videos], model.config.frames_per_second, model.config.frames_per_snippet)
    per_step = model.localize(
        [videos.load(index, model.config.hidden_size) for index in range(len(videos))],
        return_all_steps=True,
        batch_size=arguments.batch_size,
    )
    by_step = {step: dict(zip(videos.video_ids, found, strict=True)) for step, found in enumerate(per_step)}
    evaluation = evaluate_localization(by_step, videos, model.config, arguments.split)
    print(f"\n{format_tables(evaluation.tables)}\n")
    write_json(arguments.output_dir / "metrics.json", results_record(TASK, arguments.corpus, evaluation))
    write_json(arguments.output_dir / "predictions.json", evaluation.predictions)
    figure = draw_examples(by_step[max(by_step)], videos, model.config)
    save_figure(figure, arguments.output_dir / "timelines.png")
    print(f"metrics.json, predictions.json and timelines.png are in {arguments.output_dir}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a finished run, or Hub id")
    parser.add_argument("--corpus", required=True, help="as dataset_name of scripts/train.py")
    parser.add_argument("--data_dir", help="folder of the corpus's files, for published corpora")
    parser.add_argument("--split", default="test", help="split to score (default: test)")
    parser.add_argument("--output_dir", required=True, type=Path, help="folder for the results, made when missing")
    parser.add_argument("--batch_size", type=int, default=8, help="videos in one forward pass (default: 8)")
    parser.add_argument("--feature_processes", type=int, default=1, help="processes that make features (default: 1)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: cuda where there is one)")
    return parser.parse_args()


def refuse_other_classes(id2label: dict[int, str], class_names: list[str]) -> None:
    """Raise ValueError when model and corpus do not number the same classes in the same way."""
    ours = [id2label[index] for index in range(len(id2label))]
    if ours != class_names:
        unlike = next(
            (f"{a!r} against {b!r}" for a, b in zip(ours, class_names, strict=False) if a != b),
            f"{len(ours)} against {len(class_names)} classes",
        )
        raise ValueError(f"the model and the corpus have different classes: {unlike}; use the corpus it was made for")


if __name__ == "__main__":
    run(main)
