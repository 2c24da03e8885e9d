"""Answers computed in bfloat16, as `--mixed_precision bf16` of predictions and evaluations asks."""

import torch
from accelerate.utils import convert_outputs_to_fp32
from transformers import PreTrainedModel

from ..modeling.backbones.video_resnet import VideoResNetPreTrainedModel
from ..modeling.layers.convolution_forms import put_channels_last

# Of `--mixed_precision`.
BFLOAT16 = "bf16"


def answer_in_bfloat16(model: PreTrainedModel) -> None:
    """Let a model that only answers compute in bfloat16, in place; it still gives float32.

    Convolutional networks do so with folded batch norms and channels innermost, without which CPUs gain nothing.

    Args:
        model: in evaluation mode, on its device.
    """
    if isinstance(model, VideoResNetPreTrainedModel):
        model.fold_batch_norms()
        put_channels_last(model)
    model.forward = convert_outputs_to_fp32(torch.autocast(model.device.type, torch.bfloat16)(model.forward))
