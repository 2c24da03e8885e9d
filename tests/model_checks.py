"""Checks that the tests of several networks share."""

from collections.abc import Callable

import torch
from torch import nn


def assert_checkpointing_changes_no_gradient(
    make_model: Callable[[], nn.Module], loss_of: Callable[[nn.Module], torch.Tensor], **tolerances: float
) -> None:
    """Compare the gradients of all parameters that learn, with and without gradient checkpointing; each has one.

    Args:
        make_model: gives a network of its own with the same weights at every call.
        loss_of: scalar of a network in training mode, the same at every call.
        tolerances: `atol` and `rtol`, where torch's do not fit.
    """
    gradients = []
    for checkpointing in (False, True):
        model = make_model().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        loss_of(model).backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.requires_grad])
    assert all(gradient is not None for gradient in gradients[0])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, **tolerances)


def assert_fused_and_open_attention_agree(backbone: nn.Module, clips: torch.Tensor) -> None:
    """Compare what comes out when attentions are asked for, which fused attention cannot give, and when not."""
    torch.testing.assert_close(
        backbone(clips).pooler_output, backbone(clips, output_attentions=True).pooler_output, atol=1e-5, rtol=1e-5
    )
