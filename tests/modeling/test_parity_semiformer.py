"""Our Semiformer against the values of the official code."""

import pytest
import torch

from hf_vidmodels import SemiformerConfig
from hf_vidmodels.conversion.convert_semiformer import official_names
from hf_vidmodels.metrics.classification_accuracy import topk_accuracy
from hf_vidmodels.modeling import modeling_semiformer
from hf_vidmodels.modeling.layers.stream_fusion import MapToTokens
from hf_vidmodels.modeling.modeling_semiformer import StreamAnswers
from hf_vidmodels.training.recipes.published_average import PublishedAverage
from hf_vidmodels.training.recipes.recipe_semiformer import SemiformerArguments, SemiformerRecipe
from hf_vidmodels.training.recipes.semiformer_schedule import decay_groups
from semiformer_cases import load_case

NETWORKS = {"base_tiny": True, "convmixer_tiny": True, "pe_tiny": False}
HEADS = {"conv_logits": "conv_logits", "transformer_logits": "trans_logits"}
FEATURES = {"conv_features": "conv_feat", "transformer_features": "trans_feat"}
LOSS_CASES = [case["name"] for case in load_case("base_tiny").expected["loss_cases"]]


@pytest.fixture(params=NETWORKS)
def case(request):
    return load_case(request.param, NETWORKS[request.param])


@torch.no_grad()
def test_both_heads_and_their_features_are_the_official_ones(case):
    output = case.model()(case.io["model.pixel_values"])
    for ours, theirs in (HEADS | FEATURES).items():
        torch.testing.assert_close(output[ours], case.io[f"model.{theirs}"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_without_fusion_the_heads_are_those_of_the_official_switch(case):
    output = case.model(use_fusion=False)(case.io["model.pixel_values"])
    for ours, theirs in HEADS.items():
        torch.testing.assert_close(output[ours], case.io[f"model_remove_fcu.{theirs}"], atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", NETWORKS)
def test_maps_and_tokens_of_every_block_are_the_official_ones(name):
    case = load_case(name, whole=True)
    output = case.model()(case.io["model.pixel_values"], output_hidden_states=True)
    compared = 0
    for number in range(len(output.hidden_states)):
        names = (
            {"conv_hidden_states": "conv_1", "hidden_states": "trans_1"}
            if number == 0
            else {
                "conv_hidden_states": f"conv_trans_{number + 1}.conv_map",
                "hidden_states": f"conv_trans_{number + 1}.tokens",
            }
        )
        for ours, theirs in names.items():
            if (expected := case.io.get(f"model.{theirs}")) is not None:
                torch.testing.assert_close(output[ours][number], expected, atol=1e-4, rtol=1e-4)
                compared += 1
    assert compared == {"base_tiny": 12, "convmixer_tiny": 8, "pe_tiny": 6}[name]


@torch.no_grad()
@pytest.mark.parametrize("name", ["convmixer_tiny", "pe_tiny"])
def test_training_mode_gives_the_official_answers_and_running_statistics(name):
    case = load_case(name, NETWORKS[name])
    model = case.model(drop_path_rate=0.0).train()
    pictures = case.io.get("train_mode.pixel_values")
    if pictures is None:
        pictures = torch.cat([case.io["model.pixel_values"], -0.5 * case.io["model.pixel_values"]])
    output = model(pictures)
    for ours, theirs in HEADS.items():
        torch.testing.assert_close(output[ours], case.io[f"train_mode.{theirs}"], atol=1e-4, rtol=0)
    found = {official: model.state_dict()[ours] for ours, official in official_names(model).items()}
    for key, expected in case.io.items():
        if key.startswith("train_mode.after."):
            torch.testing.assert_close(found[key.removeprefix("train_mode.after.")], expected, atol=1e-5, rtol=1e-5)


def learned(options, io, single_stream=False):
    """Run our losses on the stored answers of both heads; gives the output and the logits that were learned from."""
    names = {
        "semi_lambda": "unlabeled_loss_weight",
        "threshold": "pseudo_label_threshold",
        "temperature": "pseudo_label_temperature",
        "pseudo_type": "pseudo_label_source",
        "smoothing": "label_smoothing",
        "consistency_type": "consistency_loss",
        "consistency_lambda": "consistency_loss_weight",
        "margin": "consistency_margin",
        "infonce_T": "consistency_temperature",
        "anchor_type": "consistency_anchor",
    }
    settings = {names[key]: value for key, value in options.items() if key in names}
    for field, suffix in (("head_loss_weights", ""), ("unlabeled_head_loss_weights", "_u")):
        keys = (f"mask_cnn_ratio{suffix}", f"mask_transformer_ratio{suffix}")
        settings[field] = [options.get(key, 1.0) for key in keys]
    if options.get("unlabel_smooth"):
        settings["unlabeled_label_smoothing"] = 0.1
    if "dis_type" in options:
        settings["consistency_distance"] = {"cos": "cosine", "l2": "l2"}[options["dis_type"]]
    streams = {"conv": "conv", "transformer": "trans"} if not single_stream else {"conv": "conv"}
    if single_stream:
        settings |= {"streams": "conv", "pseudo_label_source": "conv"}
    model = StoredAnswers(SemiformerConfig.from_preset("tiny-semiformer", num_labels=10, **settings))
    logits = {
        ours: torch.cat([io[f"loss.labelled_logits_{theirs}"], io[f"loss.strong_logits_{theirs}"]]).requires_grad_()
        for ours, theirs in streams.items()
    }
    strong_features = {ours: io[f"loss.strong_feat_{theirs}"] for ours, theirs in streams.items()}
    features = {ours: torch.cat([torch.zeros(5, value.shape[1]), value]) for ours, value in strong_features.items()}
    weak = StreamAnswers(
        {ours: io[f"loss.weak_logits_{theirs}"] for ours, theirs in streams.items()},
        {ours: io[f"loss.weak_feat_{theirs}"] for ours, theirs in streams.items()},
        [],
        [],
        [],
    )
    model.answers = [StreamAnswers(logits, features, [], [], []), weak]
    pictures = torch.zeros(12, 3, 64, 64)
    views = {} if options.get("epoch") == 3 else {"strong_pixel_values": pictures, "weak_pixel_values": pictures}
    if not views:
        model.answers[0] = model.answers[0].rows(slice(5))
    return model(pictures[:5], io["loss.labels"], **views), logits


class StoredAnswers:
    """Semiformer's forward pass over answers that are given, first those with gradient."""

    def __new__(cls, config):
        from hf_vidmodels import SemiformerForImageClassification

        class Stored(SemiformerForImageClassification):
            def _run_streams(self, pixel_values, wants_states=False):
                return self.answers.pop(0)

        return Stored(config)


@pytest.mark.parametrize("name", LOSS_CASES)
def test_losses_pseudo_labels_and_gradients_are_the_official_ones(name):
    case = load_case("base_tiny")
    expected = next(row for row in case.expected["loss_cases"] if row["name"] == name)
    output, logits = learned(expected["config"], case.io, expected["single_stream_model"])
    for key, value in expected["losses"].items():
        ours = {
            "loss": "loss",
            "loss_0": "conv_loss",
            "loss_1": "transformer_loss",
            "loss_0_u": "unlabeled_conv_loss",
            "loss_1_u": "unlabeled_transformer_loss",
            "loss_u": "unlabeled_conv_loss",
            "loss_consistency": "consistency_loss",
        }[key]
        assert output[ours].item() == pytest.approx(value, rel=1e-5), key
    if "pseudo_labels" in expected:
        weights = torch.tensor(expected["pseudo_weights"])
        assert torch.equal(output.pseudo_weights, weights)
        assert torch.equal(output.pseudo_labels[weights > 0], torch.tensor(expected["pseudo_labels"])[weights > 0])
        assert output.mask_ratio.item() == pytest.approx(expected["mask_mean"], rel=1e-5)
    output.loss.backward()
    for ours, theirs in (("conv", "conv"), ("transformer", "trans")):
        if ours in logits and (gradient := case.io.get(f"loss.grad.{name}.{theirs}")) is not None:
            found = torch.zeros_like(gradient)
            found[: len(logits[ours])] = logits[ours].grad
            torch.testing.assert_close(found, gradient, atol=1e-4 * float(gradient.abs().max()), rtol=0)


def run_step(case, dtype=torch.float32):
    """Make the stored training step; gives model, output and the logits of both passes in their order."""
    io = {name: value.to(dtype) if value.is_floating_point() else value for name, value in case.io.items()}
    model = case.model().train().to(dtype)
    seen = []
    for head in model.classifier.values():
        head.register_forward_hook(lambda *args: seen.append(args[-1].detach()))
    output = model(
        io["step.labelled_pixels"],
        io["step.labels"],
        strong_pixel_values=io["step.strong_pixels"],
        weak_pixel_values=io["step.weak_pixels"],
    )
    output.loss.backward()
    return model, output, seen


def largest_error(found, expected):
    """The largest difference as a share of the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())


def use_the_plain_form(monkeypatch):
    """Project cells before they are averaged, and keep channels first: as the official code computes, bit for bit."""

    def project_then_pool(self, features, tokens):
        patches = torch.nn.functional.avg_pool2d(self.projection(features), self.ratio).flatten(2).transpose(1, 2)
        return torch.cat([tokens[:, :1], torch.nn.functional.gelu(self.norm(patches))], dim=1)

    monkeypatch.setattr(MapToTokens, "forward", project_then_pool)
    monkeypatch.setattr(modeling_semiformer, "MAP_FORMAT", torch.contiguous_format)


def test_a_whole_training_step_is_the_official_one(monkeypatch):
    use_the_plain_form(monkeypatch)
    case = load_case("base_tiny", whole=True)
    io, expected = case.io, case.expected["training_step"]
    model, output, seen = run_step(case)
    assert all(module.training for module in model.modules())
    names = ("train_logits_conv", "train_logits_trans", "weak_eval_logits_conv", "weak_eval_logits_trans")
    for found, name in zip(seen, names, strict=True):
        torch.testing.assert_close(found, io[f"step.{name}"], atol=1e-4, rtol=1e-4)
    assert torch.equal(output.pseudo_weights, io["step.pseudo_weights"])
    counted = output.pseudo_weights > 0
    assert torch.equal(output.pseudo_labels[counted], io["step.pseudo_labels"][counted])
    for ours, theirs in {
        "loss": "loss",
        "conv_loss": "loss_0",
        "transformer_loss": "loss_1",
        "unlabeled_conv_loss": "loss_0_u",
        "unlabeled_transformer_loss": "loss_1_u",
    }.items():
        assert output[ours].item() == pytest.approx(expected["losses"][theirs], rel=1e-4)
    ours_of = {official: ours for ours, official in official_names(model).items()}
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for key, gradient in io.items():
        if key.startswith("step.grad."):
            assert largest_error(gradients[ours_of[key.removeprefix("step.grad.")]], gradient) < 1e-4, key
    norm = torch.nn.utils.get_total_norm(gradients.values())
    assert norm.item() == pytest.approx(expected["grad_total_norm_after_any_clipping"], rel=1e-4)
    check_what_follows_the_step(model, case, ours_of)


def check_what_follows_the_step(model, case, ours_of):
    """Optimizer and average of the recipe lead where those of the official code do."""
    start = case.model().train()
    average = PublishedAverage(start, case.expected["training_step"]["step_cfg"]["ema_decay"])
    settings = case.expected["training_step"]["step_cfg"]
    args = SemiformerArguments(learning_rate=settings["lr"], weight_decay=settings["weight_decay"])
    SemiformerRecipe(args).make_optimizer(decay_groups(model), 0).step()
    average.update(model)
    after, averaged = model.state_dict(), average.tensors
    for key, expected in case.io.items():
        if key.startswith("step.after."):
            torch.testing.assert_close(after[ours_of[key.removeprefix("step.after.")]], expected, atol=1e-5, rtol=1e-5)
        elif key.startswith("step.ema."):
            torch.testing.assert_close(averaged[ours_of[key.removeprefix("step.ema.")]], expected, atol=1e-5, rtol=0)
    counter = "stem.norm.num_batches_tracked"
    assert (after[counter], averaged[counter]) == (4, 3)


def test_the_fast_form_is_the_plain_one_in_exact_arithmetic(monkeypatch):
    case = load_case("base_tiny", whole=True)
    fast, _, fast_logits = run_step(case, torch.float64)
    use_the_plain_form(monkeypatch)
    plain, _, plain_logits = run_step(case, torch.float64)
    torch.testing.assert_close(fast_logits, plain_logits, atol=1e-8, rtol=1e-8)
    for (name, ours), theirs in zip(fast.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-7, rtol=1e-6, msg=name)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_weights_decay_as_in_the_official_code(name):
    case = load_case(name, NETWORKS[name])
    model = case.model()
    official = official_names(model)
    names = {id(parameter): official[ours] for ours, parameter in model.named_parameters()}
    for group in decay_groups(model):
        expected = case.expected["weight_decay_groups"][{"weights": "decay", "others": "no_decay"}[group["name"]]]
        assert {names[id(parameter)] for parameter in group["params"]} == set(expected)


def test_the_accuracies_of_the_heads_and_of_both_together_are_the_official_ones():
    case = load_case("base_tiny")
    joined = {
        name: torch.cat([case.io[f"eval.batch{number}.{name}"] for number in (0, 1)])
        for name in ("labels", "logits_conv", "logits_trans")
    }
    conv, transformer, labels = joined["logits_conv"], joined["logits_trans"], joined["labels"].numpy()
    answers = {
        "": conv + transformer,
        "_head1": conv,
        "_head2": transformer,
        "_softmax": conv.softmax(-1) + transformer.softmax(-1),
    }
    for name, scores in answers.items():
        for k in (1, 5):
            found = 100 * topk_accuracy(scores.numpy(), labels, k)
            assert found == pytest.approx(case.expected["evaluation"][f"acc{k}{name}"], rel=1e-6)
