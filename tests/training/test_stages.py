"""Stages with arguments of their own, stages that go on, and epochs that differ in length."""

import json

import pytest
import torch
from killed_runs import leave_as_if_killed_after
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from toy_recipe import ToyArguments, ToyRecipe

from hf_vidmodels.training.checkpoints import list_checkpoints
from hf_vidmodels.training.seeding import epoch_order
from hf_vidmodels.training.stage_plan import Stage
from hf_vidmodels.training.training_log import LOG_FILE

ALONE = {"gradient_accumulation_steps": 1, "save_strategy": "no", "save_steps": 0}


def read_log(folder):
    return [json.loads(line) for line in (folder / LOG_FILE).read_text().splitlines()]


def assert_equal_weights(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


class OneNetwork(ToyRecipe):
    """Trains one network, in a single stage."""

    def stages(self):
        return [Stage("only")]

    def start_stage(self, model, stage_index):
        self.whole = model
        if stage_index == 0 or not self.plan[stage_index].continues:
            super().start_stage(model, 0)
        return model.base

    def train_dataset(self, stage_index):
        return super().train_dataset(0)

    def step(self, module, batch, progress):
        error, logs = super().step(module, batch, progress)
        # Follows the schedule that all stages share, and the epoch of the run.
        return error * (1 + progress.schedule_step / progress.schedule_total_steps + progress.global_epoch), logs

    def finish_stage(self, model, stage_index):
        pass


class TwoPhases(OneNetwork):
    """The same in two stages, of which the second goes on."""

    def stages(self):
        return [Stage("first"), Stage("second", continues=True)]


class SameLoss(OneNetwork):
    """Its loss knows nothing of stages."""

    def step(self, module, batch, progress):
        return ((module(batch["inputs"])[:, 0] - batch["targets"]) ** 2).mean(), {}


class SameLossInTwoPhases(SameLoss):
    def stages(self):
        return [Stage("first"), Stage("second", continues=True)]


def test_two_stages_that_go_on_equal_one_of_as_many_epochs(train, tmp_path):
    settings = {"ema_decay": 0.7, "lr_scheduler_type": "cosine", "warmup_steps": 3, "gradient_accumulation_steps": 2}
    one = train(tmp_path / "one", SameLoss, num_train_epochs=5, **settings)
    stages = [{"name": "first", "num_train_epochs": 2}, {"name": "second", "num_train_epochs": 3}]
    two = train(tmp_path / "two", SameLossInTwoPhases, stages=stages, **settings)
    assert_equal_weights(two, one)
    rates = [
        {row["step"]: row["learning_rate"] for row in read_log(tmp_path / name) if "loss" in row}
        for name in ("one", "two")
    ]
    assert rates[0].items() <= rates[1].items()


def test_a_run_killed_anywhere_in_stages_that_go_on_ends_with_equal_weights_and_log(train, tmp_path):
    stages = [
        {"name": "first", "num_train_epochs": 2},
        {"name": "second", "num_train_epochs": 1, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 3},
    ]
    settings = {"stages": stages, "ema_decay": 0.7, "optim": "adam"}
    expected = train(tmp_path / "run", TwoPhases, **settings)
    checkpoints = list_checkpoints(tmp_path / "run")
    names = [checkpoint.name for checkpoint in checkpoints]
    assert names == [f"first-{step}" for step in range(1, 7)] + [f"second-{step}" for step in range(7, 10)]
    for checkpoint in checkpoints:
        folder = tmp_path / checkpoint.name
        leave_as_if_killed_after(checkpoint, tmp_path / "run", folder)
        assert_equal_weights(train(folder, TwoPhases, resume_from_checkpoint="last", **settings), expected)
        assert (folder / LOG_FILE).read_text() == (tmp_path / "run" / LOG_FILE).read_text()


def test_a_stage_that_goes_on_keeps_the_optimizer_and_one_that_does_not_begins_anew(train, tmp_path):
    settings = {"optim": "sgd", "sgd_momentum": 0.9, "num_train_epochs": 1, "lr_scheduler_type": "constant"}
    settings |= {"warmup_steps": 0, **ALONE}
    going_on = train(tmp_path / "on", SameLossInTwoPhases, **settings)
    apart = [{"name": "second", "continues": False}]
    anew = train(tmp_path / "anew", SameLossInTwoPhases, stages=apart, **settings)
    assert not torch.equal(going_on["base.0.weight"], anew["base.0.weight"])


def test_a_stage_has_its_own_optimizer_rate_schedule_batch_and_length(train, tmp_path):
    stages = [
        {"name": "base", "num_train_epochs": 1, "optim": "sgd", "learning_rate": 0.5, "warmup_steps": 0},
        {"name": "refiner", "per_device_train_batch_size": 7, "lr_scheduler_type": "constant", "warmup_steps": 0},
    ]
    seen = []

    class Watched(ToyRecipe):
        def make_optimizer(self, groups, stage_index):
            optimizer = super().make_optimizer(groups, stage_index)
            seen.append(type(optimizer).__name__)
            return optimizer

    train(tmp_path, Watched, stages=stages, logging_steps=1, **ALONE)
    assert seen == ["SGD", "AdamW"]
    facts = json.loads((tmp_path / "run.json").read_text())
    assert [(stage["name"], stage["epochs"], stage["steps"]) for stage in facts["stages"]] == [
        ("base", 1, 5),
        ("refiner", 2, 4),
    ]
    rates = [row["learning_rate"] for row in read_log(tmp_path) if "loss" in row]
    assert rates[0] == 0.5 and rates[4] < 0.1 and rates[5:] == [0.05] * 4


def test_accumulation_begins_anew_in_a_stage_after_one_that_was_cut(train, tmp_path):
    stages = [{"name": "base", "max_steps": 2}, {"name": "refiner", "gradient_accumulation_steps": 3}]
    train(tmp_path / "run", stages=stages, num_train_epochs=1)
    (before, *_) = [path for path in list_checkpoints(tmp_path / "run") if path.name == "base-2"]
    leave_as_if_killed_after(before, tmp_path / "run", tmp_path / "again")
    train(tmp_path / "again", stages=stages, num_train_epochs=1, resume_from_checkpoint="last")
    assert_equal_weights(*(load_file(tmp_path / name / "model.safetensors") for name in ("again", "run")))
    assert [path.name for path in list_checkpoints(tmp_path / "run")][-2:] == ["refiner-3", "refiner-4"]


def test_resuming_with_another_value_in_a_stage_is_an_error_that_names_it(train, tmp_path):
    train(tmp_path, num_train_epochs=1, stages=[{"name": "refiner", "learning_rate": 0.1, "logging_steps": 1}])
    changed = [{"name": "refiner", "learning_rate": 0.2, "logging_steps": 2}]
    with pytest.raises(ValueError, match="settings that change the result: refiner.learning_rate was 0.1 and is now"):
        train(tmp_path, num_train_epochs=1, stages=changed, resume_from_checkpoint="last")


@pytest.mark.parametrize(
    ("recipe", "stages", "sentence"),
    [
        (ToyRecipe, [{"name": "bass"}], "stages names 'bass', but the recipe has no such stage; it has base, refiner"),
        (ToyRecipe, [{"name": "base"}, {"name": "base"}], "stages names 'base', but the recipe lists it twice"),
        (ToyRecipe, [{"name": "base", "continues": True}], "Stage base cannot continue: the method begins it"),
        (ToyRecipe, [{"name": "base", "warmup_ratio": 0.1}], "Stage base: warmup_ratio and warmup_steps exclude"),
        (ToyRecipe, [{"name": "base", "num_train_epochs": 0}], "Stage base: num_train_epochs must be at least 1"),
        (TwoPhases, [{"name": "second", "optim": "sgd"}], "Stage second continues .* would change optim 'adamw' to"),
        (
            TwoPhases,
            [{"name": "first", "learning_rate": 0.1}, {"name": "second", "learning_rate": 0.05}],
            "0.1 to 0.05",
        ),
    ],
)
def test_stages_that_do_not_fit_are_refused_before_anything_is_done(recipe, stages, sentence):
    with pytest.raises(ValueError, match=sentence):
        recipe(ToyArguments(stages=stages, warmup_steps=2, lr_scheduler_type="cosine"))


def test_a_stage_that_goes_on_has_the_optimizers_values_of_the_stage_before():
    args = ToyArguments(stages=[{"name": "first", "learning_rate": 0.1}, {"name": "second", "max_grad_norm": 2.0}])
    first, second = TwoPhases(args).plan
    assert (first.args.learning_rate, second.args.learning_rate, second.args.max_grad_norm) == (0.1, 0.1, 2.0)


def test_a_stage_that_would_go_on_with_another_module_is_refused(train, tmp_path):
    class Broken(TwoPhases):
        def start_stage(self, model, stage_index):
            return (model.base, model.refiner)[stage_index]

        def step(self, module, batch, progress):
            return module(batch["inputs"]).mean(), {}

        def after_step(self, module, progress):
            pass

        def state_dict(self):
            return {}

    with pytest.raises(ValueError, match="Stage second continues .* trains another module"):
        train(tmp_path, Broken, num_train_epochs=1)


class Stream:
    """Batches whose number depends on the epoch; it may announce another one."""

    batch_size = 2

    def __init__(self, lengths, announced=None):
        self.lengths, self.announced, self.epoch = lengths, announced or lengths, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.announced[self.epoch]

    def __iter__(self):
        order = epoch_order(0, self.epoch, 2 * self.lengths[self.epoch])
        for batch in range(self.lengths[self.epoch]):
            yield [(self.epoch, int(index) % 14) for index in order[2 * batch : 2 * batch + 2]]


def recipe_with(stream, base=ToyRecipe):
    class Streaming(base):
        def train_dataloader(self, stage_index):
            return DataLoader(self.train_dataset(stage_index), batch_sampler=stream)

    return Streaming


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize(
    ("lengths", "announced", "sentence"),
    [
        ([7, 3], [7, 7], "stage base, epoch 1, gave 3 of the 7 batches"),
        ([6, 7], [7, 7], "stage base, epoch 0, gave 6 of the 7 batches"),
        ([7, 6], [7, 7], "stage base, epoch 1, gave 6 of the 7 batches"),
        ([7, 9], [7, 7], "stage base, epoch 1, gives more than the 7 batches"),
    ],
)
def test_a_loader_that_breaks_its_word_is_an_error_with_epoch_and_numbers(
    train, tmp_path, lengths, announced, sentence, accumulation
):
    with pytest.raises(ValueError, match=sentence):
        recipe = recipe_with(Stream(lengths, announced))
        train(tmp_path, recipe, gradient_accumulation_steps=accumulation, save_steps=0, save_strategy="no")


def test_an_epoch_without_a_batch_is_an_error_before_the_first_step(train, tmp_path):
    with pytest.raises(ValueError, match="Stage base has no training batch in epoch 1"):
        train(tmp_path, recipe_with(Stream([3, 0])))


def test_epochs_may_differ_in_length_when_the_loader_says_so(train, tmp_path):
    recipe = recipe_with(Stream([3, 5, 2, 7, 1, 4]), base=TwoPhases)
    stages = [{"name": "first", "num_train_epochs": 2}, {"name": "second", "num_train_epochs": 4}]
    seen = []

    class Watched(recipe):
        def after_step(self, module, progress):
            super().after_step(module, progress)
            seen.append((progress.epoch, progress.steps_per_epoch, progress.total_steps))
            assert (progress.schedule_step, progress.schedule_total_steps) == (progress.global_step, 13)

    settings = {"stages": stages, "save_steps": 1}
    expected = train(tmp_path / "run", Watched, **settings)
    first = [(0, 2, 5)] * 2 + [(1, 3, 5)] * 3
    assert seen == first + [(0, 1, 8)] + [(1, 4, 8)] * 4 + [(2, 1, 8)] + [(3, 2, 8)] * 2
    for checkpoint in list_checkpoints(tmp_path / "run"):
        folder = tmp_path / checkpoint.name
        leave_as_if_killed_after(checkpoint, tmp_path / "run", folder)
        assert_equal_weights(train(folder, Watched, resume_from_checkpoint="last", **settings), expected)
