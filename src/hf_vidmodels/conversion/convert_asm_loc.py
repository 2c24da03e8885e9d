"""Official ASM-Loc checkpoints (boheumd/ASM-Loc, commit 4acb3c86c5ec) as one `AsmLocForTemporalActionLocalization`.

A release is a folder with one file per network of the cascade. The two published variants differ in where dropout
sits, which moves the embedding from `feature_embedding.0` (THUMOS) to `feature_embedding.1` (ActivityNet).
"""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..configuration.configuration_asm_loc import AsmLocConfig
from ..modeling.modeling_asm_loc import AsmLocForTemporalActionLocalization
from .official_checkpoints import load_strictly, read_state_dict

logger = logging.getLogger(__name__)

Checkpoint = str | os.PathLike[str] | Mapping[str, Any] | Sequence[str | os.PathLike[str] | Mapping[str, Any]]

PRESET_OF_DATASET = {"THUMOS": "asm-loc-thumos", "ActivityNet": "asm-loc-activitynet"}
EMBEDDING_OF_DATASET = {"THUMOS": "feature_embedding.0", "ActivityNet": "feature_embedding.1"}
FIELD_OF_OPTION = {
    "feature_dim": "hidden_size",
    "action_cls_num": "num_labels",
    "num_attention_heads": "num_attention_heads",
    "dropout": "hidden_dropout_prob",
    "num_steps": "num_refinement_steps",
    "sample_segments_num": "num_snippets",
    "max_segments_num": "max_proposals",
    "fg_topk_seg": "foreground_topk_ratio",
    "bg_topk_seg": "background_topk_ratio",
    "lamb_fg": "foreground_loss_weight",
    "lamb_bg": "background_loss_weight",
    "lamb_abg": "context_loss_weight",
    "beta": "uncertainty_loss_weight",
    "delta": "proposal_extension",
    "alpha": "proposal_score_ratio",
    "gamma": "short_proposal_length",
    "frames_per_sec": "frames_per_second",
    "segment_frames_num": "frames_per_snippet",
    "cls_threshold": "class_threshold",
    "test_upgrade_scale": "upsample_scale",
    "nms_thresh": "nms_threshold",
    "tiou_thresholds": "tiou_thresholds",
}
OPTIONS_READ_APART = {"dataset", "class_names"}
TRAINING_OPTIONS = {"lr", "weight_decay", "seed"}
# The THUMOS average ends at tIoU 0.7; the ActivityNet average takes all thresholds.
LAST_AVERAGED_TIOU = {"THUMOS": 0.7, "ActivityNet": 1.0}
ROUNDING = 1e-9

MODULE_NAMES = {
    **dict.fromkeys(EMBEDDING_OF_DATASET.values(), "embedding"),
    "att_branch": "attention_head",
    "snippet_cls": "classifier",
    "uncertainty_branch": "uncertainty_head",
    **{
        f"MHSA_{official}.{part}": f"{ours}.{name}"
        for official, ours in (("Intra", "intra_attention"), ("Inter", "inter_attention"))
        for part, name in (
            ("conv_query", "query"),
            ("conv_key", "key"),
            ("conv_value", "value"),
            ("conv_out", "output"),
            ("bn", "batch_norm"),
        )
    },
}
REFINEMENT_KEY = "uncertainty_branch.weight"
CLASSIFIER_KEY = "snippet_cls.weight"
CHECKPOINT_SUFFIXES = (".pth", ".safetensors")
STEP_FILE = re.compile(r"model_step(\d+)_(last|best)_epoch\.(?:pth|safetensors)")


def convert_asm_loc(checkpoint: Checkpoint, official_config: Mapping[str, Any]) -> AsmLocForTemporalActionLocalization:
    """Convert the networks of an official cascade into one model.

    Args:
        checkpoint: the released folder, or the list of its networks in order, base network first, each a file or a
            state dict (one network alone needs no list).
        official_config: options by their official names. `dataset` ("THUMOS" or "ActivityNet") is needed; options left
            out have the official values for that data set.

    Returns:
        The model in evaluation mode.

    Raises:
        FileNotFoundError: a file is missing; the message names the step.
        ValueError: options or weights that contradict each other, a step missing or too many, networks of different
            variants, or weights left over on either side.
    """
    config = config_from_official(official_config)
    parts = _named_parts(checkpoint, config.num_refinement_steps)
    weights, official_names = {}, {}
    for step, (name, state_dict) in enumerate(parts):
        _check_network(name, state_dict, step, official_config["dataset"], config)
        for key, value in state_dict.items():
            module, _, parameter = key.rpartition(".")
            ours = f"steps.{step}.{MODULE_NAMES.get(module, module)}.{parameter}"
            weights[ours], official_names[ours] = value, f"{key} of {name}"
    model = AsmLocForTemporalActionLocalization(config)
    load_strictly(model, weights, official_names)
    return model.eval()


def config_from_official(official_config: Mapping[str, Any]) -> AsmLocConfig:
    """Translate official options.

    Options that do not shape the model are ignored; those not known to be so are named in a log warning.

    Raises:
        ValueError: no known `dataset`, or class names that contradict `action_cls_num`.
    """
    dataset = official_config.get("dataset")
    if dataset not in PRESET_OF_DATASET:
        raise ValueError(
            f"the official option 'dataset' must be one of {', '.join(PRESET_OF_DATASET)}, because it decides the "
            f"variant of the network, got {dataset!r}"
        )
    known = {*FIELD_OF_OPTION, *OPTIONS_READ_APART, *TRAINING_OPTIONS}
    if unused := sorted(set(official_config) - known):
        logger.warning("these official options have no effect on the model: %s", ", ".join(unused))
    settings = {field: official_config[name] for name, field in FIELD_OF_OPTION.items() if name in official_config}
    if dataset == "ActivityNet" and "dropout" in official_config:
        settings["input_dropout_prob"] = settings["head_dropout_prob"] = official_config["dropout"]
    if "tiou_thresholds" in settings:
        last = LAST_AVERAGED_TIOU[dataset] + ROUNDING
        settings["average_tiou_thresholds"] = [value for value in settings["tiou_thresholds"] if value <= last]
    if class_names := official_config.get("class_names"):
        if settings.pop("num_labels", len(class_names)) != len(class_names):
            raise ValueError(
                f"class_names holds {len(class_names)} names but action_cls_num is {official_config['action_cls_num']}"
            )
        settings["id2label"] = dict(enumerate(class_names))
        settings["label2id"] = {name: index for index, name in enumerate(class_names)}
    preset = dict(AsmLocConfig.presets[PRESET_OF_DATASET[dataset]])
    if "id2label" in settings:
        preset.pop("num_labels", None)
    return AsmLocConfig(**(preset | settings))


def _named_parts(checkpoint: Checkpoint, last_step: int) -> list[tuple[str, dict[str, torch.Tensor]]]:
    """Read the networks of steps 0 to `last_step`, each with a name for messages."""
    if isinstance(checkpoint, str | os.PathLike) and Path(checkpoint).is_dir():
        parts: list[Any] = _step_files(Path(checkpoint), last_step)
    else:
        is_one = isinstance(checkpoint, str | os.PathLike | Mapping)
        parts = [checkpoint] if is_one else list(checkpoint)
    if len(parts) <= last_step:
        instead = f"; add it, or convert fewer with num_steps={len(parts) - 1}" if parts else ""
        raise ValueError(
            f"the network of step {len(parts)} is missing: num_steps={last_step} means {last_step + 1} networks, base "
            f"network first, but {len(parts)} given{instead}"
        )
    if len(parts) > last_step + 1:
        raise ValueError(f"{len(parts)} networks given where num_steps={last_step} means {last_step + 1}")
    names = [
        os.fspath(part) if isinstance(part, str | os.PathLike) else f"step {step}" for step, part in enumerate(parts)
    ]
    return [(name, read_state_dict(part)) for name, part in zip(names, parts, strict=True)]


def _step_files(folder: Path, last_step: int) -> list[Path]:
    """Find one file for each step; the official script keeps the last epoch of all steps but the last one's best."""
    found = {match.groups(): path for path in sorted(folder.iterdir()) if (match := STEP_FILE.fullmatch(path.name))}
    beyond = sorted(int(step) for step, _ in found if int(step) > last_step)
    if beyond:
        raise ValueError(
            f"{folder} holds networks up to step {beyond[-1]} but num_steps={last_step}; set num_steps to {beyond[-1]}"
        )
    files = []
    for step in range(last_step + 1):
        epochs = ("last", "best") if step < last_step else ("best", "last")
        file = next((found[str(step), epoch] for epoch in epochs if (str(step), epoch) in found), None)
        if file is None:
            names = " or ".join(f"model_step{step}_{epochs[0]}_epoch{suffix}" for suffix in CHECKPOINT_SUFFIXES)
            raise FileNotFoundError(f"{folder} lacks the network of step {step}: expected {names}")
        files.append(file)
    return files


def _check_network(
    name: str, state_dict: Mapping[str, torch.Tensor], step: int, dataset: str, config: AsmLocConfig
) -> None:
    """Refuse a network of the wrong kind, variant or size, saying what would fit."""
    for other, embedding in EMBEDDING_OF_DATASET.items():
        if other != dataset and f"{embedding}.weight" in state_dict:
            raise ValueError(
                f"{name} is of the {other} variant (it has {embedding}.weight) but dataset is {dataset!r}"
            )
    if (REFINEMENT_KEY in state_dict) != (step > 0):
        kind = "a refinement network" if REFINEMENT_KEY in state_dict else "a base network"
        wanted = "a refinement network" if step > 0 else "the base network"
        raise ValueError(f"{name} is {kind} but step {step} is {wanted}; give the networks in order, base first")
    embedding_key = f"{EMBEDDING_OF_DATASET[dataset]}.weight"
    for key, option, classes_without in ((embedding_key, "feature_dim", 0), (CLASSIFIER_KEY, "action_cls_num", 1)):
        if key not in state_dict:
            raise ValueError(f"{name} lacks {key}: it is no ASM-Loc network")
        fits, field = state_dict[key].shape[0] - classes_without, FIELD_OF_OPTION[option]
        if fits != getattr(config, field):
            raise ValueError(
                f"{key} of {name} has shape {tuple(state_dict[key].shape)}: {option}={fits} ({field}) would fit, but "
                f"the official configuration says {getattr(config, field)}"
            )
