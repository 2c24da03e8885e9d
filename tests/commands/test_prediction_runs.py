import argparse
import threading

import numpy as np
import pytest
from accelerate import Accelerator

from hf_vidmodels.commands.prediction_runs import predict_each

NUM_INPUTS = 45


class Run:
    """Predicts on files, remembers what was asked for, and fails or stops where told to."""

    def __init__(self, folder):
        self.inputs = {f"{number:02d}": folder / f"{number:02d}.txt" for number in range(NUM_INPUTS)}
        for path in self.inputs.values():
            path.write_text(path.stem)
        self.output_dir = folder / "out"
        self.asked, self.drawn, self.written, self.blocks = [], [], {}, []

    def __call__(self, errors=None, drawing=None, **settings):
        self.asked, self.drawn, self.blocks = [], [], []
        arguments = argparse.Namespace(model="org/model", output_dir=self.output_dir, device="cpu", **settings)

        def predict_one(name, path):
            self.asked.append(name)
            if name in (errors or {}):
                raise errors[name]
            return {"segments": np.array([[int(path.read_text()), 0.1]])}, [(name, "found")], lambda: draw(name)

        def draw(name):
            if drawing is not None:
                drawing(name)
            self.drawn.append(name)

        def write(answers):
            self.written = dict(answers)

        def after_block(number, answers):
            self.blocks.append((number, len(answers)))

        return predict_each(self.inputs, predict_one, arguments, Accelerator(cpu=True), "file", write, after_block)


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def check_whole(run, found):
    assert list(found.answers) == list(run.written) == list(run.inputs) and len(found.rows) == NUM_INPUTS
    assert found.rows[7] == ("07", "found") and found.answers["07"]["segments"].tolist() == [[7, 0.1]]
    assert found.failures == {} and not list(run.output_dir.glob("*.journal"))


def test_a_stopped_run_keeps_what_it_has_and_goes_on(run):
    with pytest.raises(KeyboardInterrupt):
        run({"30": KeyboardInterrupt()})
    assert list(run.written) == list(run.inputs)[:30]
    check_whole(run, run())
    assert run.asked == list(run.inputs)[20:] and run.blocks == [(2, 20), (3, 5)]


def test_inputs_that_failed_are_tried_again_with_their_block_alone(run):
    found = run({"25": OSError("no\nvideo"), "44": ValueError("bad")})
    assert found.failures == {"25": "no video", "44": "bad"} and len(run.written) == NUM_INPUTS - 2
    found = run({"44": ValueError("bad")})
    assert run.asked == list(run.inputs)[20:] and list(found.failures) == ["44"]
    check_whole(run, run())
    assert run.asked == list(run.inputs)[40:]


def test_a_mistake_of_the_program_in_one_input_does_not_cost_the_others(run, monkeypatch):
    found = run({"03": RuntimeError("bug")})
    assert found.failures == {"03": "unexpected: RuntimeError: bug"} and len(run.written) == NUM_INPUTS - 1
    monkeypatch.setenv("HF_VIDMODELS_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="bug"):
        run({"03": RuntimeError("bug")})


@pytest.mark.parametrize("change", ["setting", "input", "damage"])
def test_other_settings_or_inputs_begin_anew_and_a_cut_off_line_does_not_count(run, change):
    with pytest.raises(KeyboardInterrupt):
        run({"44": KeyboardInterrupt()}, threshold=0.5)
    (journal,) = run.output_dir.glob("*.journal")
    if change == "input":
        run.inputs["00"].write_text("000")
    if change == "damage":
        journal.write_bytes(journal.read_bytes()[:-9])
    check_whole(run, run(threshold=0.6 if change == "setting" else 0.5))
    assert run.asked == list(run.inputs)[20 if change == "damage" else 0 :]


def test_an_input_is_drawn_while_the_next_ones_are_predicted_on_and_few_wait(run):
    ahead = []

    def wait_for_the_next_input(name):
        # Of the last of a block nothing follows before it is drawn.
        for _ in range(100 if int(name) % 20 < 19 and int(name) + 1 < NUM_INPUTS else 0):
            if len(run.asked) > int(name) + 1:
                break
            threading.Event().wait(0.01)
        ahead.append(len(run.asked) - 1 - int(name))

    check_whole(run, run(drawing=wait_for_the_next_input))
    assert run.drawn == list(run.inputs) and max(ahead) <= 2 and sum(number > 0 for number in ahead) >= NUM_INPUTS - 3


def test_an_input_that_cannot_be_drawn_has_failed_and_is_tried_again(run, monkeypatch):
    def fail(name):
        if name in ("03", "04"):
            raise OSError("disk full") if name == "03" else RuntimeError("bug")

    found = run(drawing=fail)
    assert found.failures == {"03": "disk full", "04": "unexpected: RuntimeError: bug"}
    assert "03" not in run.written and ("03", "found") not in found.rows and len(run.written) == NUM_INPUTS - 2
    monkeypatch.setenv("HF_VIDMODELS_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="bug"):
        run(drawing=fail)
    check_whole(run, run())


def test_a_stopped_run_has_drawn_all_that_it_writes(run):
    with pytest.raises(KeyboardInterrupt):
        run({"30": KeyboardInterrupt()}, drawing=lambda name: threading.Event().wait(0.02))
    assert run.drawn == list(run.written) == list(run.inputs)[:30]
