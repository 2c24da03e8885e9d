"""Errors of scripts: one sentence and status 2 for what the user can mend, a traceback for everything else."""

import pytest

from hf_vidmodels import AsmLocConfig
from hf_vidmodels.command_line import run


def fail_with(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize("error", [ValueError("labels are\nmissing"), FileNotFoundError("labels are missing")])
def test_wrong_input_ends_in_one_sentence_and_status_2(error, capsys):
    with pytest.raises(SystemExit) as stop:
        run(fail_with(error))
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: labels are missing\n"


def test_a_contradicting_configuration_is_told_by_its_reason_alone(capsys):
    with pytest.raises(SystemExit):
        run(lambda: AsmLocConfig(hidden_size=10, num_attention_heads=4))
    assert capsys.readouterr().err == ("error: hidden_size must be divisible by num_attention_heads, got 10 and 4\n")


def test_mistakes_of_the_program_keep_their_traceback(monkeypatch):
    with pytest.raises(KeyError):
        run(fail_with(KeyError("bug")))
    monkeypatch.setenv("HF_VIDMODELS_TRACEBACK", "1")
    with pytest.raises(ValueError, match="asked for"):
        run(fail_with(ValueError("asked for")))
