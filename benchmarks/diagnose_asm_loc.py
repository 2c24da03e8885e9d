"""Why does a step of an ASM-Loc cascade help, or not? Figures about one trained run and the corpus it was trained on.

    python benchmarks/diagnose_asm_loc.py --model runs/asm_loc --corpus embedded/untrimmed [--split train]

Printed are how long videos and actions are beside what a network sees of them, and for every step: how well the
proposals that it hands to the next cover the annotated actions and nothing else, what dynamic sampling makes of them,
and whether attention lies on actions (a collapsed step has it everywhere, nowhere or on the rest).
"""

import argparse

import numpy as np

from hf_vidmodels.commands.opened_models import open_model
from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.data.embedded.embedded_cache import default_cache_dir
from hf_vidmodels.data.features.corpus_features import add_features
from hf_vidmodels.data.features.feature_extraction import SnippetFeatureExtractor
from hf_vidmodels.data.features.video_table import VideoTable
from hf_vidmodels.modeling.ops.proposal_guidance import sampling_labels, sampling_weights
from hf_vidmodels.text_tables import format_tables

SHORT_SECONDS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a finished run")
    parser.add_argument("--corpus", default="embedded/untrimmed", help="with annotated times")
    parser.add_argument("--split", default="train")
    arguments = parser.parse_args()
    model = open_model(arguments.model).eval()
    corpus = load_corpus(arguments.corpus)
    if "features" not in corpus[arguments.split].column_names:
        corpus = add_features(corpus, SnippetFeatureExtractor.from_checkpoint(model), default_cache_dir())
    videos = VideoTable.from_corpus(corpus[arguments.split])
    features = [videos.load(index) for index in range(len(videos))]
    describe_videos(videos, features, model.config)
    # Training videos are guided by their own classes, as in training.
    labels = videos.labels if arguments.split == "train" else None
    rows, proposals = [], None
    for step in range(model.config.last_trained_step + 1):
        results = model.localize_step(
            features, step, proposals, label_sets=labels, with_pseudo=True, return_curves=True, batch_size=32
        )
        proposals = [result["pseudo"] for result in results]
        measured = [
            measure(result, videos.segments[video_id], classes, len(rows_of_video), model.config)
            for result, video_id, classes, rows_of_video in zip(
                results, videos.video_ids, videos.labels, features, strict=True
            )
        ]
        rows.append([str(step), *(float(np.nanmean(column)) for column in zip(*measured, strict=True))])
    columns = ["step", "proposals", "seconds", "coverage", "purity", "short before", "short after", "on", "off"]
    title = (
        f"means over {len(videos)} {arguments.split} videos: proposals for the next step; shares of actions that they "
        f"cover and of their time that is action; share of time of actions under {SHORT_SECONDS} s before and after "
        "dynamic sampling; attention on actions and off them"
    )
    print(format_tables([{"title": title, "columns": columns, "rows": rows}]))


def describe_videos(videos: VideoTable, features: list[np.ndarray], config) -> None:
    """Print what a network sees of the videos."""
    lengths = np.array([len(rows) for rows in features])
    actions = np.concatenate([np.ptp(true["segments"], axis=1) for true in videos.segments.values()])
    seconds_per_row = config.frames_per_snippet / config.frames_per_second
    kept = np.minimum(config.num_snippets / lengths, 1).mean()
    print(
        f"rows of a video: {lengths.min()} to {lengths.max()}, of which a network sees {config.num_snippets} at most"
    )
    print(f"share of a video's rows that it sees: {kept:.2f}")
    print(f"actions of a video: {len(actions) / len(videos):.1f}, of {actions.mean():.1f} s; under {SHORT_SECONDS} s:")
    print(f"{np.mean(actions < SHORT_SECONDS):.2f}; a second is {kept / seconds_per_row:.2f} snippets\n")


def measure(result: dict, true: dict, classes: list[int], num_rows: int, config) -> tuple[float, ...]:
    """Measure one video of one step; see the printed title."""
    found = result["pseudo"]
    segments = found["segments"][np.isin(found["labels"], classes)]
    seconds_per_row = config.frames_per_snippet / config.frames_per_second
    times = (np.arange(num_rows) + 0.5) * seconds_per_row
    action, proposed = _inside(times, true["segments"]), _inside(times, segments)
    short = _inside(times, true["segments"][np.ptp(true["segments"], axis=1) < SHORT_SECONDS])
    weights = sampling_weights(found, sampling_labels(found, classes, config), num_rows, config)
    on_action = _inside(result["test"]["curve_times"], true["segments"])
    attention = result["test"]["attention"]
    return (
        len(segments),
        _mean(np.ptp(segments, axis=1)),
        _mean(proposed[action]),
        _mean(action[proposed]),
        short.mean(),
        weights[short].sum() / weights.sum(),
        _mean(attention[on_action]),
        _mean(attention[~on_action]),
    )


def _inside(times: np.ndarray, segments: np.ndarray) -> np.ndarray:
    return ((times[:, None] >= segments[:, 0]) & (times[:, None] < segments[:, 1])).any(1)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else np.nan


if __name__ == "__main__":
    main()
