"""The base of recipes that train a classifier on a residual video network: norms and biases do not decay, start
weights may be those of a plain network, and batch-norm statistics may be measured anew before an evaluation.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedModel

from ...configuration.configuration_video_resnet import VideoResNetConfig
from ...modeling.layers.convolution_forms import put_channels_last
from ...modeling.modeling_video_resnet import VideoResNetForVideoClassification
from ..arguments import argument
from .video_classification import VideoClassificationArguments, VideoClassificationRecipe


@dataclass
class ResidualVideoArguments(VideoClassificationArguments):
    """Arguments of classifiers on residual video networks."""

    precise_batch_norm_batches: int = argument(
        0,
        "Before every evaluation, measure mean and variance of all batch norms anew on this many training batches "
        "(200 in SlowFast's recipes), because the running ones trail behind the weights. 0: do not.",
    )
    channels_last: bool = argument(
        False,
        "Compute convolutions with channels as the innermost axis, which is faster on a CPU.",
    )

    def check_ranges(self) -> None:
        """Refuse numbers outside their ranges."""
        super().check_ranges()
        self.require(self.precise_batch_norm_batches >= 0, "precise_batch_norm_batches", "must not be negative")


class ResidualVideoRecipe(VideoClassificationRecipe):
    """Trains a classifier of clips on a residual video network."""

    arguments_class = ResidualVideoArguments
    backbone_classes: ClassVar = {VideoResNetConfig.model_type: VideoResNetForVideoClassification}
    args: ResidualVideoArguments

    def build_model(self) -> PreTrainedModel:
        """Make the model, see `ClassificationRecipe`, with its convolutions in the layout that is asked for."""
        model = super().build_model()
        if self.args.channels_last:
            put_channels_last(model)
        return model

    def parameter_groups(self, module: nn.Module, stage_index: int) -> list[dict[str, Any]]:
        """Part what decays from what does not."""
        return decay_groups(module)

    def before_evaluation(self, model: PreTrainedModel, stage_index: int) -> None:
        """Measure the statistics of batch norms anew, where that is asked for."""
        if self.args.precise_batch_norm_batches:
            # Every process measures the same batches, so that all have the same statistics.
            loader = self.train_dataloader(stage_index)
            measure_batch_norms(model, loader, self.args.precise_batch_norm_batches, self.accelerator.device)


def decay_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Part matrices and kernels, which decay, from norms, biases and other parameters, which do not."""
    decayed = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Conv3d | nn.Linear)}
    parts = {"weights": [], "norms": []}
    for parameter in module.parameters():
        if parameter.requires_grad:
            parts["weights" if id(parameter) in decayed else "norms"].append(parameter)
    return [
        {"params": parts["weights"], "name": "weights"},
        {"params": parts["norms"], "name": "norms", "weight_decay": 0.0},
    ]


def part_by_rate(
    groups: list[dict[str, Any]],
    module: nn.Module,
    parts: Collection[str],
    learning_rate: float,
    multiplier: float,
) -> list[dict[str, Any]]:
    """Part each group of parameters into those of some parts of a model, with a rate of their own, and the others.

    Args:
        groups: as of `decay_groups`.
        module: whose parameters they are.
        parts: names of these parts; the first one names their groups.
        learning_rate: of the others.
        multiplier: of the parts, as a multiple of it.
    """
    name = next(iter(parts))
    inside = {id(value) for path, value in module.named_parameters() if not set(parts).isdisjoint(path.split("."))}
    parted = []
    for group in groups:
        for is_inside, rate in ((True, multiplier), (False, 1.0)):
            chosen = [parameter for parameter in group["params"] if (id(parameter) in inside) == is_inside]
            title = f"{name}_{group['name']}" if is_inside else group["name"]
            parted.append({**group, "params": chosen, "name": title, "lr": learning_rate * rate})
    return parted


@torch.no_grad()
def measure_batch_norms(model: PreTrainedModel, loader: Any, num_batches: int, device: torch.device) -> None:
    """Give every batch norm the mean over batches of the statistics that it sees, in place."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in norms]
    was_training = model.training
    model.eval()
    for layer in norms:
        layer.reset_running_stats()
        # Without a momentum PyTorch keeps the plain mean over all batches since the reset.
        layer.momentum = None
        layer.train()
    for number, batch in enumerate(loader):
        if number == num_batches:
            break
        model(pixel_values=batch["pixel_values"].to(device))
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    model.train(was_training)
