"""Optimizers that the arguments describe."""

import pytest
import torch
from torch import nn

from hf_vidmodels.training.arguments import TrainingArguments
from hf_vidmodels.training.schedules import build_optimizer


@pytest.mark.parametrize("optim", ["adamw", "adam", "sgd"])
def test_fused_steps_on_cpus_are_those_of_the_plain_form(optim, tmp_path):
    args = TrainingArguments(output_dir=str(tmp_path), optim=optim, learning_rate=0.1, weight_decay=0.01)
    start = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    ours, plain = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizers = build_optimizer([{"params": [ours]}], args), build_optimizer([{"params": [plain]}], args)
    for group in optimizers[1].param_groups:
        group["fused"], group["foreach"] = None, False
    for step in range(3):
        for parameter, optimizer in zip((ours, plain), optimizers, strict=True):
            parameter.grad = start * (step - 1.5)
            optimizer.step()
    assert not torch.equal(ours, start)
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-6)
    assert all(group["fused"] for group in optimizers[0].param_groups)


def test_parameters_elsewhere_than_on_cpus_leave_the_choice_to_pytorch(tmp_path):
    args = TrainingArguments(output_dir=str(tmp_path), optim="adamw")
    optimizer = build_optimizer([{"params": [nn.Parameter(torch.zeros(2, device="meta"))]}], args)
    assert optimizer.param_groups[0]["fused"] is None
