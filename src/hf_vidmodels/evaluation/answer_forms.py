"""The form in which a model answers fastest, for commands that predict and evaluate."""

import torch
from accelerate.utils import convert_outputs_to_fp32
from transformers import PreTrainedModel

from ..modeling.backbones.video_resnet import VideoResNetPreTrainedModel
from ..modeling.layers.convolution_forms import fold_batch_norms, put_channels_last
from ..modeling.modeling_hierarchical_motion import HierarchicalMotionForPreTraining
from ..modeling.modeling_step import StepForActionDetection
from ..tasks import BFLOAT16

CONVOLUTIONAL = (VideoResNetPreTrainedModel, StepForActionDetection)


def prepare_to_answer(model: PreTrainedModel, mixed_precision: str | None = None) -> None:
    """Bring a model that only answers from now on into its fastest form, in place; it gives float32 in any form.

    Networks of 3D convolutions answer with folded batch norms, and with channels innermost on CPUs and in bfloat16.
    Their answers differ by rounding.

    Args:
        model: in evaluation mode, on its device.
        mixed_precision: `"bf16"` lets it compute in bfloat16.
    """
    in_bfloat16, is_step = mixed_precision == BFLOAT16, isinstance(model, StepForActionDetection)
    if is_step:
        fold_batch_norms(model)
    elif isinstance(model, VideoResNetPreTrainedModel):
        model.fold_batch_norms()
    if isinstance(model, CONVOLUTIONAL) and (in_bfloat16 or model.device.type == "cpu"):
        put_channels_last(model)
    if in_bfloat16 and is_step:
        # Its cascade is no single forward pass; it keeps boxes in float32 by itself.
        model.to(torch.bfloat16)
    elif in_bfloat16:
        # Commands ask for motion in several ways, and all of them read its features.
        asked = "motion_features" if isinstance(model, HierarchicalMotionForPreTraining) else "forward"
        answer = torch.autocast(model.device.type, torch.bfloat16)(getattr(model, asked))
        setattr(model, asked, convert_outputs_to_fp32(answer))


def refuse_absent_step(model: PreTrainedModel, step: int | None) -> None:
    """Refuse to let a step answer that a detector does not have, before anything is decoded.

    Args:
        model: with `config.num_steps`, if it has steps.
        step: from 0; None for the model's own choice.

    Raises:
        ValueError: the model has no steps, or none of that number.
    """
    if step is None:
        return
    num_steps = getattr(model.config, "num_steps", 0)
    if num_steps == 0:
        raise ValueError(f"--step chooses a step of a cascade, and {type(model).__name__} is none; leave it out")
    if not 0 <= step < num_steps:
        raise ValueError(f"--step must be one of the model's steps, 0 to {num_steps - 1}, got {step}")
