"""Official MAL checkpoints (NVlabs/mask-auto-labeler, commit 0ab9be4) as `MalForMaskLabeling`.

A release is a Lightning checkpoint that holds student and teacher. Which patch embedding it has is told from its keys.
"""

import os
import re
from collections.abc import Mapping
from typing import Any

from ..configuration.configuration_mal import MalConfig
from ..modeling.modeling_mal import MalForMaskLabeling
from .official_checkpoints import load_strictly, read_state_dict
from .vit_weights import rename_key

PRESET_OF_ARCH = {
    "vit-deit-tiny/16": "mal-vit-deit-tiny",
    "vit-deit-small/16": "mal-vit-deit-small",
    "vit-deit-base/16": "mal-vit-deit-base",
    "vit-deit-base-distilled/16": "mal-vit-deit-base",
    "vit-deit-iii-base-224/16": "mal-vit-deit-base",
    "vit-mocov3-base/16": "mal-vit-mae-base",
    "vit-mae-base/16": "mal-vit-mae-base",
    "vit-mae-large/16": "mal-vit-mae-large",
    "vit-mae-huge/14": "mal-vit-mae-huge",
}
DEFAULT_ARCH = "vit-mae-base/16"
FIELD_OF_VIT_OPTION = {
    "embed_dim": "hidden_size",
    "depth": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "mlp_ratio": "mlp_ratio",
    "qkv_bias": "qkv_bias",
    "layer_norm_eps": "layer_norm_eps",
    "in_chans": "num_channels",
    "img_size": "pretrain_image_size",
    "patch_size": "pretrain_patch_size",
}
FIELD_OF_OPTION = {
    "crop_size": "image_size",
    "frozen_stages": "frozen_stages",
    "mask_head_num_convs": "mask_head_num_layers",
    "mask_head_hidden_channel": "mask_head_hidden_size",
    "mask_head_out_channel": "mask_embed_size",
    "mask_scale_ratio": "mask_upsample_ratio",
    "mask_scale_ratio_pre": "single_scale_ratio",
    "mask_thres": "mask_thresholds",
    "margin_rate": "train_margin_rate",
    "teacher_momentum": "teacher_momentum",
    "vit_dpr": "drop_path_rate",
    "loss_mil_weight": "loss_mil_weight",
    "loss_crf_weight": "loss_crf_weight",
    "loss_mil_step": "loss_mil_warmup_steps",
    "loss_crf_step": "loss_crf_warmup_steps",
    "crf_zeta": "crf_zeta",
    "crf_kernel_size": "crf_kernel_size",
    "crf_num_iter": "crf_num_iterations",
    "crf_size_ratio": "crf_size_ratio",
    "crf_value_low_thres": "crf_low",
    "crf_value_high_thres": "crf_high",
}
# Parts that wrappers for sharded training leave in names.
WRAPPER_PARTS = re.compile(r"(?:module|_fsdp_wrapped_module)\.")
# Three layers per stage of our stem; the official last stage also holds the final convolution.
STEM_KEY = re.compile(r"patch_embed\.proj\.(\d)\.(\d)\.(weight|bias)")
HEAD_NAMES = (
    (re.compile(r"^roi_head\.mlp([12])\."), r"instance_head.fc\1."),
    (re.compile(r"^mask_head\.convs\.(\d+)\.conv\."), r"pixel_head.layers.\1."),
)
LINEAR_KEY = "backbone.patch_embed.proj.weight"


def convert_mal(
    checkpoint: str | os.PathLike[str] | Mapping[str, Any], official_config: Mapping[str, Any]
) -> MalForMaskLabeling:
    """Convert an official checkpoint; the model holds the networks that it holds, and answers as the official code.

    That includes the holes between the official size buckets (`strict_bucket_bounds`); set the field to False in the
    model's configuration to have none.

    Args:
        checkpoint: a file, or its state dict, with keys `student....` or `teacher....` or both.
        official_config: options by their official names, under `args` or at the top. A block `vit` describes the
            encoder; without it the option `arch` does (`vit-mae-base/16` when left out).

    Returns:
        The model in evaluation mode; the teacher answers where there is one.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: an unknown `arch`, options that contradict the weights, or weights left over on either side.
    """
    state_dict = read_state_dict(checkpoint)
    weights, official_names = {}, {}
    for key, value in state_dict.items():
        network, _, rest = WRAPPER_PARTS.sub("", key).partition(".")
        ours = f"{network}.{our_name(rest)}"
        if ours in weights:
            raise ValueError(f"{key} and {official_names[ours]} are the same weight; the checkpoint holds it twice")
        weights[ours], official_names[ours] = value, key
    networks = {key.partition(".")[0] for key in weights}
    if not networks & {"student", "teacher"}:
        raise ValueError(
            "the checkpoint is none of MAL: no weight is called student.... or teacher...., the first is "
            f"{next(iter(state_dict))}"
        )
    config = config_from_official(
        official_config,
        patch_embed_type="linear" if any(key.endswith(LINEAR_KEY) for key in state_dict) else "conv_stem",
        use_student="student" in networks,
        use_teacher="teacher" in networks,
    )
    model = MalForMaskLabeling(config)
    load_strictly(model, weights, official_names)
    return model.eval()


def config_from_official(official_config: Mapping[str, Any], **settings: Any) -> MalConfig:
    """Translate official options.

    Args:
        official_config: see `convert_mal`.
        settings: fields of `MalConfig` that win, such as what the weights say.

    Raises:
        ValueError: for an unknown `arch` or values out of range.
    """
    args = official_config.get("args", official_config)
    arch = args.get("arch", DEFAULT_ARCH)
    if arch not in PRESET_OF_ARCH:
        raise ValueError(f"the official option 'arch' must be one of {', '.join(PRESET_OF_ARCH)}, got {arch!r}")
    vit = official_config.get("vit", {})
    fields = {field: vit[name] for name, field in FIELD_OF_VIT_OPTION.items() if name in vit}
    fields |= {field: args[name] for name, field in FIELD_OF_OPTION.items() if name in args}
    if "test_margin_rate" in args:
        margins = args["test_margin_rate"]
        fields["test_margin_rate"] = margins[0] if isinstance(margins, list | tuple) else margins
    fields["use_size_buckets"] = not args.get("not_adjust_scale", False)
    fields["strict_bucket_bounds"] = True
    return MalConfig.from_preset(PRESET_OF_ARCH[arch], **(fields | settings))


def our_name(key: str) -> str:
    """Give our name, inside one network, of an official weight."""
    if key.startswith("backbone."):
        key = key.removeprefix("backbone.")
        if match := STEM_KEY.fullmatch(key):
            stage, layer, parameter = match.groups()
            return f"encoder.embeddings.patch_embeddings.{3 * int(stage) + int(layer)}.{parameter}"
        return f"encoder.{rename_key(key)}"
    for pattern, replacement in HEAD_NAMES:
        key = pattern.sub(replacement, key)
    return key
