"""A run that is told to stop by a signal saves at the next optimiser step and ends like an uninterrupted one."""

import os
import signal

import pytest
import torch
from killed_runs import leave_as_if_killed_after
from toy_recipe import ToyRecipe

from hf_vidmodels.training.checkpoints import list_checkpoints
from hf_vidmodels.training.stop_request import StopRequest
from hf_vidmodels.training.training_log import LOG_FILE

SETTINGS = {"save_strategy": "no", "save_steps": 0, "gradient_accumulation_steps": 2, "ema_decay": 0.7}


@pytest.fixture(autouse=True)
def answered_ctrl_c():
    """Let Ctrl-C mean what it does in a terminal: shells start background jobs with it ignored."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


def recipe_that_gets(signal_number, global_step, hook="step"):
    """A recipe that is sent a signal inside a hook, when so many optimiser steps of the run are done."""

    class Told(ToyRecipe):
        def step(self, module, batch, progress):
            if hook == "step" and progress.global_step == global_step and progress.batch % 2 == 0:
                os.kill(os.getpid(), signal_number)
            return super().step(module, batch, progress)

        def finish_stage(self, model, stage_index):
            super().finish_stage(model, stage_index)
            if hook == "finish_stage":
                os.kill(os.getpid(), signal_number)

    return Told


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_told_to_stop_saves_says_how_to_go_on_and_ends_equal(
    train, tmp_path, capsys, signal_number, workers
):
    expected = train(tmp_path / "whole", **SETTINGS)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for step in (0, 2, 4) if workers == 0 else (1,):
        folder = tmp_path / f"stopped{step}"
        settings = SETTINGS | {"dataloader_num_workers": workers}
        with pytest.raises(SystemExit) as ended:
            train(folder, recipe_that_gets(signal_number, step), **settings)
        assert ended.value.code == 128 + signal_number
        assert "go on with the same command and --resume_from_checkpoint last" in capsys.readouterr().err
        assert [path.name.rpartition("-")[2] for path in list_checkpoints(folder)][-1] == str(step + 1)
        found = train(folder, resume_from_checkpoint="last", **settings)
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
        assert (folder / LOG_FILE).read_text() == (tmp_path / "whole" / LOG_FILE).read_text()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_a_signal_between_stages_is_answered_at_the_first_step_of_the_next(train, tmp_path):
    with pytest.raises(SystemExit):
        train(tmp_path, recipe_that_gets(signal.SIGTERM, 0, hook="finish_stage"), **SETTINGS)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["refiner-7"]


def test_a_signal_after_the_last_step_acts_as_it_does_outside_training(train, tmp_path):
    run = tmp_path / "run"
    settings = SETTINGS | {"save_strategy": "epoch"}
    expected = train(run, **settings)
    last = list_checkpoints(run)[-1]
    leave_as_if_killed_after(last, run, tmp_path / "again")
    told = recipe_that_gets(signal.SIGINT, 0, hook="finish_stage")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "again", told, resume_from_checkpoint="last", **settings)
    found = train(tmp_path / "again", resume_from_checkpoint="last", **settings)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_second_ctrl_c_stops_at_once_and_a_second_sigterm_does_not():
    with pytest.raises(KeyboardInterrupt), StopRequest():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(SystemExit), StopRequest() as request:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        raise SystemExit(request.agreed())
