import pytest
import torch
from killed_runs import leave_as_if_killed_after
from toy_recipe import ToyRecipe

from hf_vidmodels.training.checkpoints import list_checkpoints
from hf_vidmodels.training.training_log import LOG_FILE


def assert_equal_weights(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("uninterrupted") / "run"


def test_a_run_resumed_at_any_checkpoint_ends_with_equal_weights_and_log(train, run_folder, tmp_path):
    settings = {"ema_decay": 0.7, "save_steps": 1}
    expected = train(run_folder, **settings)
    checkpoints = list_checkpoints(run_folder)
    names = [checkpoint.name for checkpoint in checkpoints]
    assert names == [f"base-{step}" for step in range(1, 7)] + [f"refiner-{step}" for step in range(7, 13)]
    for checkpoint in checkpoints:
        folder = tmp_path / checkpoint.name
        leave_as_if_killed_after(checkpoint, run_folder, folder)
        found = train(folder, resume_from_checkpoint="last", **settings)
        assert_equal_weights(found, expected)
        assert (folder / LOG_FILE).read_text() == (run_folder / LOG_FILE).read_text()


def test_a_run_resumed_between_epochs_by_path_ends_with_equal_weights(train, tmp_path):
    settings = {"save_strategy": "epoch", "save_steps": 0, "eval_strategy": "epoch", "load_best_model_at_end": True}
    expected = train(tmp_path / "run", **settings)
    for name in ("base-3", "refiner-9"):
        folder = tmp_path / name
        leave_as_if_killed_after(tmp_path / "run" / "checkpoints" / name, tmp_path / "run", folder)
        path = folder / "checkpoints" / name
        assert_equal_weights(train(folder, resume_from_checkpoint=str(path), **settings), expected)


def test_the_number_of_workers_does_not_change_the_weights(train, tmp_path):
    expected = train(tmp_path / "here", num_train_epochs=2)
    found = train(tmp_path / "workers", num_train_epochs=2, dataloader_num_workers=2)
    assert_equal_weights(found, expected)


def test_half_written_checkpoints_are_ignored(train, tmp_path):
    train(tmp_path, num_train_epochs=1)
    complete = list_checkpoints(tmp_path)
    folder = tmp_path / "checkpoints"
    (folder / ".refiner-99.tmp").mkdir()
    (folder / "refiner-100").mkdir()
    (folder / "refiner-100" / "model.safetensors").write_bytes(b"half")
    assert list_checkpoints(tmp_path) == complete


def test_last_begins_at_the_beginning_and_says_so_when_there_is_no_checkpoint(train, tmp_path, capsys):
    train(tmp_path / "run", num_train_epochs=1, resume_from_checkpoint="last")
    assert "no checkpoint in" in capsys.readouterr().out


def test_resuming_with_settings_that_change_the_result_is_an_error_naming_them(train, tmp_path):
    train(tmp_path, num_train_epochs=1)
    with pytest.raises(ValueError, match="learning_rate was 0.05 and is now 0.1; noise was 0.2 and is now 0.3"):
        train(tmp_path, num_train_epochs=1, resume_from_checkpoint="last", learning_rate=0.1, noise=0.3)
    train(tmp_path, num_train_epochs=1, resume_from_checkpoint="last", logging_steps=1, dataloader_num_workers=1)


def test_a_checkpoint_that_does_not_exist_or_belongs_to_another_run_is_an_error(train, tmp_path):
    train(tmp_path / "run", num_train_epochs=1)
    with pytest.raises(FileNotFoundError, match="no complete checkpoint at .*nowhere .*base-1, base-2"):
        train(tmp_path / "run", resume_from_checkpoint=str(tmp_path / "nowhere"))
    foreign = tmp_path / "run" / "checkpoints" / "base-1"
    with pytest.raises(ValueError, match="not one of the run in"):
        train(tmp_path / "other", resume_from_checkpoint=str(foreign))


@pytest.mark.parametrize(
    "name", ["trainer_state.json", "model.safetensors", "optimizer.bin", "process_0.pt", "run.pt"]
)
def test_a_damaged_checkpoint_is_an_error_that_names_it(train, tmp_path, name):
    train(tmp_path, num_train_epochs=1, max_steps=1)
    (tmp_path / "checkpoints" / "refiner-2" / name).write_bytes(b"{}")
    with pytest.raises(ValueError, match="The checkpoint .*refiner-2 is damaged"):
        train(tmp_path, num_train_epochs=1, max_steps=1, resume_from_checkpoint="last")


def test_old_checkpoints_are_deleted_beyond_the_limit(train, tmp_path):
    train(tmp_path, save_total_limit=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["refiner-11", "refiner-12"]


def test_without_a_save_strategy_there_are_no_checkpoints(train, tmp_path):
    train(tmp_path, num_train_epochs=1, save_strategy="no", save_steps=0)
    assert list_checkpoints(tmp_path) == []


class MeasuringStatistics(ToyRecipe):
    """Measures the batch statistics of the network in training anew before an evaluation."""

    def before_evaluation(self, model, stage_index):
        network = (model.base, model.refiner)[stage_index]
        network[1].reset_running_stats()
        network.train()
        for rows in torch.as_tensor(self.inputs).split(5):
            network(rows)


def test_statistics_measured_before_evaluations_every_few_steps_are_those_of_an_uninterrupted_run(train, tmp_path):
    settings = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True, "ema_decay": 0.7}
    expected = train(tmp_path / "run", MeasuringStatistics, **settings)
    log = (tmp_path / "run" / LOG_FILE).read_text()
    for checkpoint in list_checkpoints(tmp_path / "run")[1::2]:
        folder = tmp_path / checkpoint.name
        leave_as_if_killed_after(checkpoint, tmp_path / "run", folder)
        found = train(folder, MeasuringStatistics, resume_from_checkpoint="last", **settings)
        assert_equal_weights(found, expected)
        assert (folder / LOG_FILE).read_text() == log
