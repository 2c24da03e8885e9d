import errno
import json
import sys

import pytest
import torch
import yaml
from accelerate import Accelerator
from safetensors.torch import load_file
from toy_recipe import ToyRecipe

from hf_vidmodels.training import loop
from hf_vidmodels.training.checkpoints import list_checkpoints
from hf_vidmodels.training.training_log import LOG_FILE

WITHOUT_RANDOM_FORWARD = {"dropout": 0.0, "batch_norm": False, "optim": "sgd", "learning_rate": 0.05}


def read_log(folder):
    return [json.loads(line) for line in (folder / LOG_FILE).read_text().splitlines()]


def assert_close_weights(found, expected, atol=1e-6):
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=atol, rtol=0, msg=name)


def test_a_run_leaves_the_files_of_a_repository(train, tmp_path, capsys):
    train(tmp_path / "run", draw=True, num_train_epochs=1)
    folder = tmp_path / "run"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if "checkpoints" not in path.parts}
    assert names == {
        "config.json",
        "figures",
        "figures/loss_curve.png",
        "metrics.json",
        "model.safetensors",
        "predictions.json",
        "recipe.yaml",
        "run.json",
        "training_log.jsonl",
    }
    facts = json.loads((folder / "run.json").read_text())
    assert [(stage["name"], stage["epochs"], stage["steps"]) for stage in facts["stages"]] == [
        ("base", 1, 3),
        ("refiner", 1, 3),
    ]
    assert (facts["world_size"], facts["num_train_examples"], facts["num_parameters"]) == (1, 14, 130)
    results = json.loads((folder / "metrics.json").read_text())
    assert results["metrics"]["closeness"] == pytest.approx(1 / (1 + results["metrics"]["error"]))
    printed = capsys.readouterr().out
    assert f"{results['metrics']['closeness']:.4f}" in printed
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["learning_rate"] == 0.05


def test_the_log_holds_means_over_the_logged_steps_and_learning_rates(train, tmp_path):
    settings = {"num_train_epochs": 1, "gradient_accumulation_steps": 1, "max_grad_norm": 0.0}
    train(tmp_path / "each", logging_steps=1, **settings)
    train(tmp_path / "pairs", logging_steps=2, **settings)
    each = [row["loss"] for row in read_log(tmp_path / "each") if "loss" in row]
    pairs = [row["loss"] for row in read_log(tmp_path / "pairs") if "loss" in row]
    assert len(each) == 10 and len(pairs) == 6
    expected = [sum(each[0:2]) / 2, sum(each[2:4]) / 2, each[4], sum(each[5:7]) / 2, sum(each[7:9]) / 2, each[9]]
    assert pairs == pytest.approx(expected)
    rates = [row["learning_rate"] for row in read_log(tmp_path / "each") if "loss" in row]
    assert rates[:3] == pytest.approx([0.0, 0.025, 0.05])


def test_accumulating_gradients_equals_a_bigger_batch_also_in_the_last_short_group(train, tmp_path):
    small = train(
        tmp_path / "small", per_device_train_batch_size=2, gradient_accumulation_steps=3, **WITHOUT_RANDOM_FORWARD
    )
    big = train(
        tmp_path / "big", per_device_train_batch_size=6, gradient_accumulation_steps=1, **WITHOUT_RANDOM_FORWARD
    )
    assert_close_weights(small, big)


def test_the_averaged_weights_follow_their_formula_and_are_saved(train, tmp_path):
    decay = 0.6
    seen = []

    class Watched(ToyRecipe):
        def start_stage(self, model, stage_index):
            module = super().start_stage(model, stage_index)
            seen.append([module[0].weight.detach().clone()])
            return module

        def after_step(self, module, progress):
            seen[-1].append(module[0].weight.detach().clone())

    weights = train(tmp_path / "run", Watched, ema_decay=decay)
    for name, course in zip(("base", "refiner"), seen, strict=True):
        average = course[0]
        for now in course[1:]:
            average = decay * average + (1 - decay) * now
        torch.testing.assert_close(weights[f"{name}.0.weight"], average)
        assert not torch.allclose(average, course[-1])


def test_a_stage_sees_what_the_stage_before_left(train, tmp_path):
    train(tmp_path, num_train_epochs=1)
    answers = json.loads((tmp_path / "checkpoints" / "work" / "answers.json").read_text())
    assert len(answers) == 14 and len(set(answers)) == 14


def test_the_rates_of_several_groups_are_logged_by_their_names(train, tmp_path):
    train(tmp_path, num_train_epochs=1, lr_by_layer=[0.2, 0.1], lr_scheduler_type="constant", warmup_steps=0)
    rows = [row for row in read_log(tmp_path) if "loss" in row]
    assert all((row["learning_rate_first"], row["learning_rate_1"]) == (0.2, 0.1) for row in rows)
    assert not any("learning_rate" in row for row in rows)


def test_parameter_groups_have_their_own_learning_rates(train, tmp_path):
    start = {}

    class Watched(ToyRecipe):
        def build_model(self):
            model = super().build_model()
            start.update({name: tensor.clone() for name, tensor in model.state_dict().items()})
            return model

    weights = train(tmp_path, Watched, num_train_epochs=1, lr_by_layer=[0.0, 0.1])
    assert torch.equal(weights["refiner.0.weight"], start["refiner.0.weight"])
    assert not torch.equal(weights["refiner.4.weight"], start["refiner.4.weight"])


def test_gradients_are_clipped_to_the_norm(train, tmp_path):
    settings = {"optim": "sgd", "sgd_momentum": 0.0, "lr_scheduler_type": "constant", "warmup_steps": 0}
    course = []

    class Watched(ToyRecipe):
        def on_epoch_start(self, module, progress):
            course.append([parameter.detach().clone() for parameter in module.parameters()])

        def after_step(self, module, progress):
            course.append([parameter.detach().clone() for parameter in module.parameters()])

    train(tmp_path, Watched, num_train_epochs=1, learning_rate=1.0, max_grad_norm=0.01, max_steps=1, **settings)
    moved = torch.cat([(new - old).flatten() for old, new in zip(course[0], course[1], strict=True)])
    assert moved.norm().item() == pytest.approx(0.01, rel=1e-3)


def test_max_steps_ends_each_stage_early_and_squeezes_the_schedule(train, tmp_path):
    train(tmp_path, num_train_epochs=5, max_steps=4, logging_steps=1)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert [stage["steps"] for stage in facts["stages"]] == [4, 4]
    rates = [row["learning_rate"] for row in read_log(tmp_path) if "loss" in row]
    assert rates[:4] == pytest.approx([0.0, 0.025, 0.05, 0.025])


def test_bf16_trains_and_keeps_float32_weights(train, tmp_path):
    weights = train(tmp_path, num_train_epochs=1, mixed_precision="bf16")
    assert {tensor.dtype for name, tensor in weights.items() if "num_batches" not in name} == {torch.float32}
    assert json.loads((tmp_path / "run.json").read_text())["mixed_precision"] == "bf16"


def test_evaluations_are_logged_after_the_epochs_asked_for(train, tmp_path):
    train(tmp_path, num_train_epochs=4, eval_strategy="epoch", eval_epochs=2)
    rows = [(row["stage"], row["epoch"]) for row in read_log(tmp_path) if "eval_closeness" in row]
    assert rows == [("base", 2), ("base", 4), ("refiner", 2), ("refiner", 4)]


def test_evaluations_every_few_steps_are_logged_and_change_nothing_in_training(train, tmp_path):
    settings = {"gradient_accumulation_steps": 1, "max_grad_norm": 0.0}
    expected = train(tmp_path / "plain", **settings)
    found = train(tmp_path / "often", eval_strategy="steps", eval_steps=3, **settings)
    assert_close_weights(found, expected, atol=0)
    rows = [(row["stage"], row["step"]) for row in read_log(tmp_path / "often") if "eval_closeness" in row]
    assert rows == [
        (stage, step) for stage, steps in (("base", (3, 6, 9, 10)), ("refiner", (13, 16, 19, 20))) for step in steps
    ]


def test_the_model_is_prepared_before_every_evaluation_and_before_it_is_saved(train, tmp_path):
    class Prepared(ToyRecipe):
        def before_evaluation(self, model, stage_index):
            assert not model.training
            with torch.no_grad():
                model.refiner[1].running_mean.fill_(7.0)

        def evaluate(self, model, stage_index, *, final):
            assert (model.refiner[1].running_mean == 7).all()
            return super().evaluate(model, stage_index, final=final)

    for settings in ({"eval_strategy": "epoch"}, {"eval_strategy": "no"}):
        weights = train(tmp_path / settings["eval_strategy"], Prepared, num_train_epochs=1, **settings)
        assert (weights["refiner.1.running_mean"] == 7).all()


def test_evaluations_gather_everything_although_the_training_loader_was_left_at_its_last_batch(train, tmp_path):
    class Gathering(ToyRecipe):
        def evaluate(self, model, stage_index, *, final):
            gathered = self.accelerator.gather_for_metrics(list(range(20)), use_gather_object=True)
            assert len(gathered) == 20
            return super().evaluate(model, stage_index, final=final)

    train(tmp_path, Gathering, num_train_epochs=1, eval_strategy="epoch", load_best_model_at_end=True)


def test_the_best_weights_of_the_last_stage_are_saved_when_asked_for(train, tmp_path):
    values = iter([0.9, 0.8, 0.1, 0.7, 0.3, 0.5])
    seen = {}

    class Rated(ToyRecipe):
        def evaluate(self, model, stage_index, *, final):
            evaluation = super().evaluate(model, stage_index, final=final)
            if not final:
                evaluation.metrics["closeness"] = value = next(values)
                seen[value] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            return evaluation

    weights = train(tmp_path, Rated, num_train_epochs=3, eval_strategy="epoch", load_best_model_at_end=True)
    assert_close_weights(weights, seen[0.7], atol=0)
    assert [path.name for path in (tmp_path / "checkpoints").glob("best-*")] == ["best-12"]


def test_without_evaluation_the_run_has_weights_and_no_results(train, tmp_path):
    train(tmp_path, num_train_epochs=1, eval_strategy="no")
    assert not (tmp_path / "metrics.json").exists()


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_batch(train, tmp_path):
    with pytest.raises(ValueError) as caught:
        train(tmp_path, bad_sample=5, bad_from_epoch=1, gradient_accumulation_steps=1, save_steps=3, logging_steps=4)
    sentence = str(caught.value)
    assert "stage base, epoch 1, batch" in sentence and "sample 5" in sentence
    assert [path.name for path in list_checkpoints(tmp_path)] == ["base-3"]
    samples = sentence.partition("samples ")[2].partition(".")[0].split(", ")
    assert len(samples) == 3 and "sample 5" in samples


def test_a_folder_that_is_not_empty_is_refused_unless_overwritten(train, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty: go on with its run"):
        train(tmp_path)
    train(tmp_path, num_train_epochs=1, overwrite_output_dir=True)
    train(tmp_path, num_train_epochs=1, overwrite_output_dir=True, save_steps=2)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert [path.name for path in list_checkpoints(tmp_path)] == ["base-2", "base-3", "refiner-5", "refiner-6"]
    assert [row["step"] for row in read_log(tmp_path)] == [2, 3, 5, 6, 6]


def test_data_that_do_not_fit_leave_an_earlier_run_untouched(train, tmp_path):
    class Faulty(ToyRecipe):
        def prepare_data(self):
            raise ValueError("video v1 has no label")

    expected = train(tmp_path / "run", num_train_epochs=1)
    with pytest.raises(ValueError, match="video v1"):
        train(tmp_path / "run", Faulty, num_train_epochs=1, overwrite_output_dir=True)
    assert_close_weights(load_file(tmp_path / "run" / "model.safetensors"), expected, atol=0)
    with pytest.raises(ValueError, match="video v1"):
        train(tmp_path / "new", Faulty)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("fails_in", ["accelerate", "torch"])
def test_a_full_disk_stops_the_run_in_one_sentence_and_keeps_earlier_checkpoints(
    train, tmp_path, monkeypatch, fails_in
):
    calls = 0

    def fill_up_on_third_call(original):
        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == 3:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        if fails_in == "accelerate":
            patch.setattr(Accelerator, "save_state", fill_up_on_third_call(Accelerator.save_state))
        else:
            patch.setattr(torch, "save", fill_up_on_third_call(torch.save))
        with pytest.raises(OSError, match="could not be written .*No space left on device.*earlier checkpoints"):
            train(tmp_path, num_train_epochs=1)
    kept = list_checkpoints(tmp_path)
    assert [path.name for path in kept] == (["base-1", "base-2"] if fails_in == "accelerate" else [])
    assert list((tmp_path / "checkpoints").glob(".*")) == []
    train(tmp_path, num_train_epochs=1, resume_from_checkpoint="last")


def test_a_full_disk_at_the_end_keeps_the_last_checkpoint(train, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_model", full)
        with pytest.raises(OSError, match="No space left"):
            train(tmp_path, num_train_epochs=1)
    assert list_checkpoints(tmp_path)[-1].name == "refiner-6"
    train(tmp_path, num_train_epochs=1, resume_from_checkpoint="last")
    assert json.loads((tmp_path / "run.json").read_text())["stages"][1]["steps"] == 3


def test_tensorboard_gets_the_numbers_of_the_log(train, tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(tmp_path, num_train_epochs=1, report_to=["tensorboard"], run_name="trial")
    found = event_accumulator.EventAccumulator(str(tmp_path / "runs" / "trial")).Reload()
    losses = {event.step: event.value for event in found.Scalars("loss")}
    assert losses == pytest.approx({row["step"]: row["loss"] for row in read_log(tmp_path) if "loss" in row})
    assert found.Scalars("eval_closeness")[0].step == 6


def test_a_tracker_that_is_not_installed_is_named(train, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_vidmodels.training.launch.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install trackio"):
        train(tmp_path, report_to=["trackio"])


def test_training_data_without_a_batch_are_an_error(train, tmp_path):
    with pytest.raises(ValueError, match="Stage base has no training batch: 2 samples, batches of 3"):
        train(tmp_path, num_samples=2, dataloader_drop_last=True)


def test_a_stage_without_trainable_parameters_is_an_error(train, tmp_path):
    class Frozen(ToyRecipe):
        def start_stage(self, model, stage_index):
            return super().start_stage(model, stage_index).requires_grad_(False)

    with pytest.raises(ValueError, match="no parameter of this stage requires gradients"):
        train(tmp_path, Frozen)


def test_a_finished_run_is_pushed_when_asked_for(train, tmp_path, monkeypatch):
    pushed = []
    push = type(sys)("hf_vidmodels.hub.push")
    push.push_folder = lambda folder, repo_id, private: pushed.append((folder, repo_id, private))
    monkeypatch.setitem(sys.modules, "hf_vidmodels.hub.push", push)
    train(tmp_path, num_train_epochs=1, push_to_hub=True, hub_model_id="me/toy", hub_private_repo=True)
    assert pushed == [(tmp_path, "me/toy", True)]


def test_full_determinism_forbids_operations_that_do_not_repeat(train, tmp_path):
    try:
        train(tmp_path, num_train_epochs=1, max_steps=1, full_determinism=True)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
