"""STTS trained by the real loop on a small corpus: its stages, its baselines, its augmentation and its smoke test."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModelForVideoClassification, AutoVideoProcessor, Trainer
from transformers import TrainingArguments as TrainerArguments

from hf_vidmodels import SttsConfig, SttsForVideoClassification
from hf_vidmodels.processing.processing_stts import SttsVideoProcessor
from hf_vidmodels.training import loop
from hf_vidmodels.training.argument_parser import parse_command_line
from hf_vidmodels.training.recipe import Progress
from hf_vidmodels.training.recipe_files import available_recipes, check_fields, find_recipe, read_recipe
from hf_vidmodels.training.recipes.recipe_stts import SttsRecipe, full_network_of
from hf_vidmodels.training.recipes.stts_arguments import SttsArguments
from stts_corpus import SETTINGS, make_corpus

pytestmark = pytest.mark.filterwarnings("ignore:split 'test'.*have no example", "ignore:split 'test'.*has no example")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpora"))


FULL = {"name": "full", "lr_scheduler_type": "cosine"}


def arguments(corpus, output_dir="", **changes):
    """Fields of the model's configuration are given flat."""
    settings = SETTINGS | {"dataset_name": str(corpus), "output_dir": str(output_dir)} | changes
    return SttsArguments(**check_fields(settings, SttsArguments, "The test"))


def train(corpus, output_dir, **changes):
    args = arguments(corpus, output_dir, **changes)
    loop.run(SttsRecipe(args), args)
    return load_file(Path(output_dir) / "model.safetensors")


@pytest.fixture(scope="module")
def whole_run(corpus, tmp_path_factory):
    """The full network for an epoch, and then an epoch with selection."""
    output_dir = tmp_path_factory.mktemp("runs") / "whole"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # With a video a batch the later ones are timed.
        train(corpus, output_dir, num_train_epochs=1, stages=[FULL], per_device_eval_batch_size=1)
    return output_dir


def test_a_run_leaves_a_repository_that_opens_and_classifies(whole_run, corpus):
    model = AutoModelForVideoClassification.from_pretrained(whole_run)
    processor = AutoVideoProcessor.from_pretrained(whole_run)
    assert processor.sampling_strategy == "segments" and processor.evaluation_views == 1
    with torch.no_grad():
        output = model(**processor(corpus / "test" / "test_00000.mp4"))
    assert output.logits.shape == (1, 5) and len(output.temporal_indices[0][0]) == 2
    assert set(model.config.id2label.values()) == {"blink", "bounce", "pulse", "spin", "swing"}
    figures = {path.stem for path in (whole_run / "figures").glob("*.png")}
    assert figures == {"loss_curve", "kept_tokens_1", "kept_tokens_2", "kept_tokens_3"}
    card = (whole_run / "README.md").read_text(encoding="utf-8")
    for words in ("soft_top1_accuracy", "GFLOPs a view, closed form", "clips a second"):
        assert words in card
    metrics = json.loads((whole_run / "metrics.json").read_text(encoding="utf-8"))
    assert "clips a second" in dict(metrics["tables"][0]["rows"])


def test_the_full_network_comes_first_and_leaves_the_scorers_alone(whole_run, corpus, tmp_path):
    log = [json.loads(line) for line in (whole_run / "training_log.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in log if "loss" in line] == ["full", "selection"]
    args = arguments(corpus, stages=[FULL])
    torch.manual_seed(0)
    model = SttsForVideoClassification(SttsConfig.from_preset("tiny-mvit", num_labels=5)).train()
    full = full_network_of(model)
    clip, label = torch.randn(1, 8, 3, 32, 32), torch.tensor([2])
    plain = SttsForVideoClassification(SttsConfig.from_preset("tiny-mvit", num_labels=5, selection_mode="none"))
    plain.load_state_dict(full.state_dict())
    torch.testing.assert_close(full(clip).logits, plain.train()(clip).logits)
    full(clip, label).loss.backward()
    touched = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert touched == {name for name, _ in model.named_parameters() if "selectors" not in name}
    assert [stage.name for stage in SttsRecipe(args).plan] == ["full", "selection"]


def test_baselines_start_from_the_full_network_and_everything_can_be_augmented(corpus, tmp_path, capsys):
    everything = {
        "rand_augment_operations": 2,
        "crop_scale": [0.3, 1.0],
        "erase_probability": 1.0,
        "repeated_augmentation": 2,
        "mixup_alpha": 0.8,
        "cutmix_alpha": 1.0,
        "label_smoothing_factor": 0.1,
        "max_steps": 2,
        "save_strategy": "no",
        "eval_strategy": "no",
    }
    full = tmp_path / "full"
    train(corpus, full, selection_mode="none", lr_scheduler_type="cosine", **everything)
    source = load_file(full / "model.safetensors")
    start = {"model_name_or_path": str(full), "following_start_epoch": 10.0}
    for mode in ("learned", "uniform", "random"):
        weights = train(corpus, tmp_path / mode, selection_mode=mode, **start, **everything)
        # The network rests until following_start_epoch, and only scorers move.
        assert all(torch.equal(weights[name], value) for name, value in source.items())
        assert (mode == "learned") == any("selectors" in name for name in weights)
    assert "start afresh (spatial_selectors.0" in capsys.readouterr().out


def test_scorers_may_learn_at_a_smaller_budget_than_the_model_has_afterwards(corpus, tmp_path):
    budgets = {"temporal_keep_ratios": [0.75], "spatial_keep_ratios": [0.6]}
    budgets |= {"training_temporal_keep_ratios": [0.25], "training_spatial_keep_ratios": [0.3]}
    recipe = SttsRecipe(arguments(corpus, **budgets))
    recipe.prepare_data()
    model = recipe.build_model()
    module = recipe.start_stage(model, 0)
    clip = torch.randn(1, 8, 3, 32, 32)
    for network, planes, side in ((model, 3, 3), (module, 1, 2)):
        output = network.eval()(clip)
        assert output.temporal_indices[0].shape == (1, planes) and output.spatial_indices[0].shape == (1, planes)
        assert network.config.selector_plans()[-1].kept == side
    # The same weights, not copies of them.
    assert {id(weight) for weight in module.parameters()} == {id(weight) for weight in model.parameters()}
    train(corpus, tmp_path, **budgets, max_steps=1, save_strategy="no", eval_strategy="no")
    assert SttsConfig.from_pretrained(tmp_path).temporal_keep_ratios == [0.75]

    for mode in ("random", "uniform", "none"):
        baseline = SttsRecipe(arguments(corpus, selection_mode=mode, **budgets))
        baseline.prepare_data()
        model = baseline.build_model()
        assert baseline.start_stage(model, 0) is model


@pytest.mark.parametrize(
    "changes",
    [
        {"training_temporal_keep_ratios": [0.75]},
        {"training_temporal_keep_ratios": [0.5, 0.5]},
        {"training_spatial_keep_ratios": [0.0]},
    ],
)
def test_budgets_of_training_that_do_not_fit_are_refused_before_anything_is_trained(corpus, changes):
    recipe = SttsRecipe(arguments(corpus, **changes))
    recipe.prepare_data()
    with pytest.raises(ValueError, match=r"_keep_ratios must be positive and at most \[0\..*, but it is \[0\."):
        recipe.build_model()


class Spy(torch.nn.Module):
    """Notes what a recipe's step calls the model with."""

    def forward(self, **arguments):
        self.arguments = arguments
        return type("Output", (), {"loss": torch.zeros(())})


def prepared_recipe(corpus, tmp_path, **changes):
    from accelerate import Accelerator

    recipe = SttsRecipe(arguments(corpus, **changes))
    recipe.attach(Accelerator(cpu=True), tmp_path)
    recipe.prepare_data()
    recipe.start_stage(recipe.build_model(), 0)
    return recipe


def test_sigma_follows_from_the_step_alone(corpus, tmp_path):
    recipe, spy = prepared_recipe(corpus, tmp_path), Spy()
    clips = recipe.train_dataset(0)
    batch = recipe.collate([clips[0, 0], clips[0, 1]])
    for step, sigma in ((0, 0.1), (25, 0.075), (99, 0.001)):
        progress = Progress(0, 0, 0, 0, step, step, 10, 100, step, 100)
        recipe.step(spy, batch, progress)
        assert spy.arguments["sigma"] == pytest.approx(sigma)
    assert spy.arguments["labels"].tolist() == recipe.train["label"][:2]


def test_copies_of_a_clip_stand_side_by_side_with_its_label(corpus, tmp_path):
    recipe = prepared_recipe(corpus, tmp_path, repeated_augmentation=2, flip_probability=0.0)
    clips = recipe.train_dataset(0)
    batch = recipe.collate([clips[0, 0], clips[0, 1]])
    assert batch["pixel_values"].shape == (4, 8, 3, 32, 32)
    assert torch.equal(batch["pixel_values"][0], batch["pixel_values"][1])
    first, second = recipe.train["label"][:2]
    assert batch["labels"].tolist() == [first, first, second, second]


def test_the_rates_of_both_recipes_reach_the_optimizer(corpus, tmp_path):
    recipe = prepared_recipe(corpus, tmp_path, following_start_epoch=1.0, scorer_lr_multiplier=4.0)
    optimizer = recipe.make_optimizer(recipe.parameter_groups(recipe.build_model(), 0), 0)
    scheduler = recipe.make_scheduler(optimizer, 0, total_steps=8, steps_per_epoch=4)
    rates = []
    for _ in range(8):
        rates.append({group["name"]: group["lr"] for group in optimizer.param_groups})
        optimizer.step()
        scheduler.step()
    assert rates[0] == {"scorers": pytest.approx(0.004), "backbone": 0, "classifier": 0}
    assert rates[4]["backbone"] == rates[4]["classifier"] == 0.0005 and rates[4]["scorers"] > 0.002
    assert rates[7]["backbone"] == rates[7]["scorers"] < 0.0005

    changes = {"lr_scheduler_type": "stepped_cosine", "backbone_lr_multiplier": 0.1, "scorer_lr_multiplier": 2.0}
    recipe = prepared_recipe(corpus, tmp_path, warmup_epochs=0.5, **changes)
    optimizer = recipe.make_optimizer(recipe.parameter_groups(recipe.build_model(), 0), 0)
    recipe.make_scheduler(optimizer, 0, total_steps=8, steps_per_epoch=4)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    expected = {"scorers": 0.0002, "backbone": 0.00001, "classifier": 0.0001}
    assert rates == {part: pytest.approx(rate) for part, rate in expected.items()}


def test_unreadable_training_videos_are_replaced_counted_and_listed(tmp_path):
    corpus = make_corpus(tmp_path)
    videos = sorted((corpus / "train").glob("*.mp4"))
    videos[2].write_bytes(b"no video")
    run = tmp_path / "run"
    train(corpus, run, max_unreadable_share=0.5, eval_strategy="no", save_strategy="no")
    assert (run / "unreadable_videos.txt").read_text(encoding="utf-8") == f"{videos[2].name}\n"
    with pytest.raises(ValueError, match=r"1 of 6 videos cannot be read \(.*, more than max_unreadable_share=0 "):
        train(corpus, tmp_path / "strict", max_unreadable_share=0.0, eval_strategy="no", save_strategy="no")


@pytest.mark.parametrize("name", [name for name in available_recipes() if name.startswith("stts/")])
def test_every_recipe_file_fits_its_arguments_and_makes_a_model(name):
    path = find_recipe(name)
    method, fields = read_recipe(path)
    args = SttsArguments(**check_fields(fields, SttsArguments, str(path)))
    config = args.model_config(["a", "b", "c"])
    assert method == "stts" and config.num_labels == 3 and config.has_selection
    processor = SttsVideoProcessor.from_config(config, **args.processor)
    assert args.augmentation(processor).size == processor.picture_size


def test_the_full_network_can_be_asked_for_on_the_command_line():
    words = "--recipe stts/embedded --model.selection_mode none"
    _, args = parse_command_line(words.split())
    assert args.model_config(["a", "b"]).selection_mode == "none"
    assert [stage.name for stage in SttsRecipe(args).plan] == ["selection"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": {"preset": "mvit"}}, "preset must be one of"),
        ({"crop_scale": [0.5, 0.2]}, "crop_scale must be two ascending shares"),
        ({"mixup_alpha": -1.0}, "mixup_alpha must not be negative"),
        ({"erase_probability": 2.0}, r"erase_probability must be in \[0, 1\]"),
        ({"backbone_lr_multiplier": 0.5}, "has no effect with scorers_first"),
        ({"stages": [FULL], "selection_mode": "none"}, "selection_mode none always trains the full network"),
        ({"stages": [FULL], "model_name_or_path": "x"}, "model_name_or_path gives a full network, and stages trains"),
        ({"stages": [{"name": "full"}]}, "Stage full cannot have lr_scheduler_type scorers_first"),
        ({"warmup_ratio": 0.1}, "scorers_first takes no warmup_steps"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        SttsRecipe(arguments("corpus", **changes))


def test_transformers_trainer_makes_a_step_too(tmp_path):
    torch.manual_seed(0)
    model = SttsForVideoClassification(SttsConfig.from_preset("tiny-mvit", num_labels=5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    clips = Dataset.from_dict({"pixel_values": torch.randn(2, 8, 3, 32, 32).tolist(), "labels": [1, 3]})
    settings = {"max_steps": 1, "report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"}
    trainer = Trainer(
        model,
        TrainerArguments(str(tmp_path), per_device_train_batch_size=2, learning_rate=1e-2, **settings),
        train_dataset=clips.with_format("torch"),
    )
    assert trainer.train().training_loss == pytest.approx(1.6, abs=0.3)
    after = model.state_dict()
    moved = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == {"backbone", "classifier", "temporal_selectors", "spatial_selectors"}


def hidden_patches(generator, count):
    """Noise in which the class's colour channel lights up or goes dark in one 16 x 16 corner of two frames; gives also
    which."""
    clips = 0.3 * torch.randn(count, 8, 3, 32, 32, generator=generator)
    labels, planes, corners = (torch.randint(high, (count,), generator=generator) for high in (6, 4, 4))
    for clip, label, plane, corner in zip(clips, labels.tolist(), planes.tolist(), corners.tolist(), strict=True):
        top, left = 16 * (corner // 2), 16 * (corner % 2)
        change = 2 if label < 3 else -2
        clip[2 * plane : 2 * plane + 2, label % 3, top : top + 16, left : left + 16] += change
    return clips, labels, planes, corners


def test_selection_learns_to_look_where_the_class_shows():
    generator = torch.manual_seed(0)
    config = SttsConfig.from_preset(
        "embedded-mvit",
        num_frames=8,
        image_size=32,
        num_hidden_layers=2,
        hidden_size=16,
        dim_mul=(),
        head_mul=(),
        pool_q_stride=(),
        pool_kv_kernel={0: (1, 1, 1), 1: (1, 1, 1)},
        temporal_keep_ratios=(0.5,),
        spatial_keep_ratios=(0.25,),
        num_labels=6,
    )
    model = SttsForVideoClassification(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    num_steps = 150
    for step in range(num_steps):
        clips, labels, _, _ = hidden_patches(generator, 16)
        model(clips, labels, sigma=config.sigma_at(step / num_steps)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    clips, labels, planes, corners = hidden_patches(generator, 100)
    with torch.no_grad():
        output = model.eval()(clips)
    # Two of four frames and one of nine windows are kept, by chance the right one half and a ninth of the time.
    hits = output.temporal_indices[0] == planes[:, None]
    assert hits.any(1).float().mean() > 0.8
    windows = torch.tensor([0, 2, 6, 8])[corners]
    assert (output.spatial_indices[0] == windows[:, None])[hits].float().mean() > 0.6
    assert (output.logits.argmax(-1) == labels).float().mean() > 0.9
