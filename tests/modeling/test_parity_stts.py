"""Values of the official STTS code: shortened cases always, the whole ones where ../shared is there."""

from collections import defaultdict

import pytest
import torch

from hf_vidmodels.conversion.stts_layouts import recognize_layout
from stts_cases import FOLDERS, NAMES, OURS, load_case

# min-max normalisation ignores what is added to all scores: this gradient is nothing but rounding.
WITHOUT_EFFECT = "out_conv.4.bias"


@pytest.fixture(params=[(name, kind) for name in NAMES for kind in FOLDERS], ids="-".join)
def case(request):
    name, kind = request.param
    if not FOLDERS[kind].is_dir():
        pytest.skip(f"the whole parity cases are not at {FOLDERS[kind]}")
    return load_case(name, kind)


@pytest.fixture
def model(case):
    return case.model()


def assert_near(found, expected, message=None):
    torch.testing.assert_close(found.reshape(expected.shape), expected, atol=1e-5, rtol=1e-5, msg=message)


def as_tokens(maps):
    return maps.flatten(2).transpose(1, 2) if maps.ndim == 5 else maps


def test_evaluation_gives_the_official_choices_scores_and_logits(case, model):
    raw_scores, kept_tokens = {}, {}
    for kind, number in case.selectors:
        selector = getattr(model, f"{OURS[kind]}_selectors")[number]
        key = f"eval.{kind}{number}"
        selector.scorer.register_forward_hook(lambda _, __, scores, key=key: raw_scores.update({key: scores}))
        selector.register_forward_hook(lambda _, __, output, key=key: kept_tokens.update({key: output[0]}))
    with torch.no_grad():
        output = model(case.pixel_values(model), output_hidden_states=True)
    assert_near(output.logits, case.io["eval.logits"])
    for kind, number in case.selectors:
        key = f"eval.{kind}{number}"
        indices = getattr(output, f"{OURS[kind]}_indices")[number]
        assert torch.equal(indices.flatten(), case.io[f"{key}.indices"].flatten())
        assert_near(getattr(output, f"{OURS[kind]}_scores")[number], case.io[f"{key}.scores"])
        assert_near(raw_scores[key], case.io[f"{key}.raw_scores"])
        if f"{key}.tokens" in case.io:
            assert_near(kept_tokens[key], as_tokens(case.io[f"{key}.tokens"]))
    for index, tokens in enumerate(output.hidden_states):
        for key in (f"eval.block{index}.output", f"eval.layer{index}.output"):
            if key in case.io:
                assert_near(tokens, as_tokens(case.io[key]), key)


def test_training_gives_the_official_indicators_loss_and_gradients(case, model):
    found = case.train(model)
    assert_near(found.output.logits, case.io["train.logits"])
    assert_near(found.output.loss, case.io["train.loss"])
    for (kind, number), scores, indicators in zip(case.selectors, found.scores, found.indicators, strict=True):
        assert_near(scores, case.io[f"train.{kind}{number}.scores"])
        assert torch.equal(indicators, case.io[f"train.{kind}{number}.indicators"])
        assert_near(scores.grad, case.io[f"train.grad.{kind}{number}.scores"])
    if "train.grad.pixel_values" in case.io:
        assert_near(found.pixel_values.grad, case.io["train.grad.pixel_values"].transpose(1, 2))


def test_the_gradients_of_the_weights_are_the_official_ones(case, model):
    case.train(model)
    layout = recognize_layout(case.weights)
    gradients = defaultdict(list)
    for name, parameter in model.named_parameters():
        gradients[layout.name_of(name)].append(parameter.grad)
    expected = {key: value for key, value in case.io.items() if key.startswith("train.grad.param.")}
    assert len(expected) > 10
    for key, value in expected.items():
        ours = torch.cat(gradients[key.removeprefix("train.grad.param.")])
        difference = (ours - value).abs().max()
        assert difference < (1e-5 if key.endswith(WITHOUT_EFFECT) else 1e-4 * value.abs().max()), key
