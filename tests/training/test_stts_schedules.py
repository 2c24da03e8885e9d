import json
from pathlib import Path

import pytest
import torch
from torch import nn

from hf_vidmodels import SttsConfig, SttsForVideoClassification
from hf_vidmodels.training.recipes.stts_schedules import (
    following_rate,
    is_decayed,
    schedule_groups,
    scorer_rate,
    split_parameters,
    stepped_cosine_rate,
)

FIXTURE = Path(__file__).parents[1] / "fixtures/stts/training/config.json"


@pytest.fixture(scope="module")
def official():
    return json.loads(FIXTURE.read_text(encoding="utf-8"))["operators"]


def test_the_rates_of_the_mvit_recipe_equal_the_official_table(official):
    table = official["lr_schedule"]
    for epoch, expected_scorers, expected_rest in zip(
        table["epoch"], table["scorer_lr"], table["backbone_lr"], strict=True
    ):
        scorers = scorer_rate(epoch, 20, 1e-4, 1e-6)
        assert scorers == pytest.approx(expected_scorers, rel=1e-12)
        assert following_rate(epoch, scorers, 3, 1e-5) == pytest.approx(expected_rest, rel=1e-12)


def test_the_noise_levels_equal_the_official_table(official):
    config = SttsConfig.from_preset("mvit-b-16x4-t0.9-s0.9")
    for step, total, expected in official["sigma_schedule"]:
        assert config.sigma_at(step / total) == pytest.approx(expected, rel=1e-12)


def test_the_video_swin_rate_rises_by_steps_and_falls_by_epochs():
    rates = [stepped_cosine_rate(step / 10, 10, 3e-4, 0.8, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(3e-5) and rates[4] == pytest.approx(3e-4 * 0.55)
    assert rates[8] == rates[9] == 3e-4
    assert rates[10] == rates[19] == pytest.approx(3e-4 * 0.9755282581475768)
    assert rates[99] == pytest.approx(3e-4 * 0.024471741852423234)


def parts_and_decay(preset):
    model = SttsForVideoClassification(SttsConfig.from_preset(preset))
    backbone_type = model.config.backbone_type
    parts = split_parameters(model)
    decayed = {
        name
        for part, parameters in parts.items()
        for name, parameter in parameters.items()
        if is_decayed(name, parameter, part, backbone_type)
    }
    assert sum(map(len, parts.values())) == len(list(model.parameters()))
    return parts, decayed


def test_in_mvits_recipe_scorers_decay_whole_and_the_rest_without_vectors():
    parts, decayed = parts_and_decay("tiny-mvit")
    assert set(parts["scorers"]) <= decayed and any(name.endswith("bias") for name in parts["scorers"])
    for name in ("embeddings.class_token", "embeddings.temporal_positions", "blocks.0.mlp.expand.weight"):
        assert f"backbone.{name}" in decayed
    assert "classifier.weight" in decayed and "classifier.bias" not in decayed
    assert "backbone.norm.weight" not in decayed and "backbone.blocks.0.mlp.expand.bias" not in decayed


def test_in_video_swins_recipe_all_decays_but_norms_and_position_biases():
    parts, decayed = parts_and_decay("tiny-video-swin")
    left_out = {name for parameters in parts.values() for name in parameters} - decayed
    assert any("position_bias_table" in name for name in left_out)
    assert all("norm" in name or "position_bias_table" in name for name in left_out)
    assert "classifier.bias" in decayed


def test_every_group_gets_the_rate_of_its_part():
    groups = [
        {"params": [nn.Parameter(torch.zeros(1))], "lr": lr, "name": name} for name, lr in (("a", 1.0), ("b", 0.5))
    ]
    optimizer = torch.optim.SGD(groups)
    scheduler = schedule_groups(optimizer, lambda name, epoch: epoch if name == "a" else 0.25, steps_per_epoch=4)
    rates = []
    for _ in range(3):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert rates == [[0.0, 0.25], [0.25, 0.25], [0.5, 0.25]]
