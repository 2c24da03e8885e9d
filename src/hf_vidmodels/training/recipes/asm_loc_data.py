"""The data of an ASM-Loc run: loaded, completed with features where there are only videos, and checked as a whole."""

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...atomic_io import read_json_object
from ...data.corpora import load_corpus
from ...data.embedded.embedded_cache import default_cache_dir
from ...data.features.corpus_features import add_features
from ...data.features.feature_checks import find_feature_problems
from ...data.features.feature_extraction import SnippetFeatureExtractor
from ...data.features.feature_folders import SETTINGS_FILE
from ...data.features.stream_settings import StreamSettings
from ...data.features.video_table import VideoTable
from ...processing.feature_reading import feature_file
from ..corpus_splits import TRAIN_SPLIT, choose_eval_split
from .asm_loc_arguments import AsmLocArguments
from .asm_loc_step_choice import HeldOutVideos

TASK = "temporal-action-localization"


@dataclass(frozen=True)
class AsmLocData:
    """What a run trains and evaluates on.

    Attributes:
        class_names: action classes in the order of their ids.
        train: training videos.
        evaluation: videos of `eval_split`; `None` when nothing is evaluated and there are none.
        eval_split: their split.
        held_out: the videos that choose which step answers; `None` when there is only the training split.
        extractor: what made the features, here or before by networks on this machine; `None` when that is not known,
            or networks of the Hub made them.
        model_settings: fields of `AsmLocConfig` that follow from the features: their width, their rate, and how they
            are made from video.
    """

    class_names: list[str]
    train: VideoTable
    evaluation: VideoTable | None
    eval_split: str | None
    held_out: HeldOutVideos | None
    extractor: SnippetFeatureExtractor | None
    model_settings: dict[str, Any]


def load_asm_loc_data(args: AsmLocArguments, device: torch.device, show_progress: bool) -> AsmLocData:
    """Load the corpus that the arguments name, so that whatever is wrong with it shows before anything is trained.

    Raises:
        ValueError: for missing splits, unusable or contradicting feature files (all are named), an evaluation split
            without annotated times, or arguments that do not fit the corpus.
        OSError: see `load_corpus`.
    """
    corpus = load_corpus(args.dataset_name, data_dir=args.data_dir, task=TASK)
    eval_split = choose_eval_split(args, corpus)
    extractor = None
    if "features" not in corpus[TRAIN_SPLIT].column_names:
        extractor = _make_extractor(args, device)
        cache = args.feature_cache_dir or default_cache_dir()
        corpus = add_features(
            corpus, extractor, cache, num_processes=args.feature_processes, show_progress=show_progress
        )
    elif args.feature_extractor is not None:
        raise ValueError(
            f"corpus {args.dataset_name!r} has features, so feature_extractor {args.feature_extractor!r} has nothing "
            "to do: leave it out (--feature_extractor none)"
        )
    used = {name: corpus[name] for name in (TRAIN_SPLIT, eval_split, "validation") if name in corpus}
    _refuse_bad_features(used, show_progress)
    tables = {name: VideoTable.from_corpus(split) for name, split in used.items()}
    train, evaluation = tables[TRAIN_SPLIT], tables.get(eval_split)
    if evaluation is not None and args.eval_strategy != "no" and not evaluation.has_segments:
        raise ValueError(
            f"split {eval_split!r} of {args.dataset_name!r} has no annotated times to evaluate on: add start and end, "
            "or train with --eval_strategy no"
        )
    settings = {"hidden_size": train.load(0).shape[1]}
    if extractor is None:
        extractor, extraction = _extraction_beside(train, device)
        settings |= extraction | _annotated_rate(used)
    else:
        settings |= _model_settings(extractor.to_dict())
    return AsmLocData(
        class_names=used[TRAIN_SPLIT].features["labels"].feature.names,
        train=train,
        evaluation=evaluation,
        eval_split=eval_split,
        held_out=HeldOutVideos.of_splits(tables),
        extractor=extractor,
        model_settings=settings,
    )


def feature_settings_file(name: str) -> Path:
    """Find settings of a feature extractor by path, or by name among those that come with the recipes.

    Raises:
        FileNotFoundError: when there is no such file.
    """
    for path in (Path(name), Path(__file__).parent / f"{name}.json"):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"feature_extractor {name!r} is neither a JSON file nor the name of one that comes with the recipes"
    )


def _make_extractor(args: AsmLocArguments, device: torch.device) -> SnippetFeatureExtractor:
    if args.feature_extractor is None:
        raise ValueError(
            f"corpus {args.dataset_name!r} has videos but no features: give feature_extractor, or make features with "
            "hf-vidmodels extract"
        )
    settings = json.loads(feature_settings_file(args.feature_extractor).read_text(encoding="utf-8"))
    return SnippetFeatureExtractor.from_dict(settings, device=device)


def _refuse_bad_features(splits: "dict[str, Any]", show_progress: bool) -> None:
    width, sentences = None, []
    for split in splits.values():
        problems = find_feature_problems(split, width, show_progress=show_progress)
        errors = [problem for problem in problems if problem.severity == "error"]
        sentences += [problem.sentence for problem in errors]
        if not errors:
            width = VideoTable.from_corpus(split).load(0).shape[1]
    if sentences:
        raise ValueError("; ".join(sentences))


def _extraction_beside(
    train: VideoTable, device: torch.device
) -> tuple[SnippetFeatureExtractor | None, dict[str, Any]]:
    """Find out how features that were there are made, from what `hf-vidmodels extract` wrote beside them.

    Returns:
        The extractor when its networks lie on this machine, so that they can be saved with the model, and the
        settings of the model that follow.
    """
    source = train.feature_files[0]
    beside = feature_file(source).parent / SETTINGS_FILE if isinstance(source, str) else None
    if beside is None or not beside.is_file():
        return None, {}
    described = read_json_object(beside, "how the features were made")
    settings = described.get("extractor", {})
    if "streams" not in settings:
        return None, {}
    streams = [StreamSettings.from_dict(fields) for fields in settings["streams"].values()]
    if all(stream.random_init_seed is not None or stream.names_hub_model for stream in streams):
        return None, _model_settings(settings)
    try:
        extractor = SnippetFeatureExtractor.from_dict(settings, device=device)
        if extractor.weights_digests() != described.get("weights_sha256"):
            raise ValueError("the networks there are others by now")
    except (ValueError, OSError) as error:
        warnings.warn(
            f"the checkpoint will take feature files but no videos, because the networks that {beside} names cannot "
            f"be saved with it: {error}",
            stacklevel=2,
        )
        return None, {name: value for name, value in _model_settings(settings).items() if name != "feature_extractor"}
    return extractor, _model_settings(settings)


def _model_settings(extraction: dict[str, Any]) -> dict[str, Any]:
    """Give the settings of the model that follow from those of an extractor."""
    return {
        "feature_extractor": extraction,
        "frames_per_second": extraction["frames_per_second"],
        "frames_per_snippet": extraction["snippet_stride"],
    }


def _annotated_rate(splits: "dict[str, Any]") -> dict[str, Any]:
    """Rate of the features as the columns `fps` and `frames_per_snippet` say it, where they do."""
    rate = {}
    for column, field in (("fps", "frames_per_second"), ("frames_per_snippet", "frames_per_snippet")):
        values = {
            value
            for split in splits.values()
            if column in split.column_names
            for value in split[column]
            if value is not None
        }
        if len(values) > 1:
            raise ValueError(
                f"the features have several values of {column} ({', '.join(map(str, sorted(values)))}): make all with "
                "the same settings"
            )
        if values:
            rate[field] = values.pop()
    return rate
