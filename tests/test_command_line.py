"""How scripts end: in one sentence, with status 2 for what the user can mend."""

import signal

import pytest
import torch

from hf_vidmodels import AsmLocConfig
from hf_vidmodels.command_line import command_parser, run, whole_number_from


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


@pytest.mark.parametrize("name", ["answers.csv", "answers.csv/new"])
def test_a_file_in_place_of_a_folder_is_named(name, tmp_path, capsys):
    (tmp_path / "answers.csv").touch()
    with pytest.raises(SystemExit) as stop:
        run(lambda: (tmp_path / name).mkdir(parents=True, exist_ok=True))
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'answers.csv'} is a file, where a folder is needed; name another, or move the file away\n"
    )


def test_a_folder_that_is_there_already_is_told_as_the_system_does(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path.mkdir)
    assert "File exists" in capsys.readouterr().err


def test_a_contradicting_configuration_is_told_by_its_reason_alone(capsys):
    with pytest.raises(SystemExit):
        run(lambda: AsmLocConfig(hidden_size=10, num_attention_heads=4))
    assert capsys.readouterr().err == ("error: hidden_size must be divisible by num_attention_heads, got 10 and 4\n")


def test_options_of_whole_numbers_refuse_others(capsys):
    parser = command_parser("count", "Count.")
    parser.add_argument("--batch_size", type=whole_number_from(1))
    assert parser.parse_args(["--batch_size", "12"]).batch_size == 12
    for wrong in ("0", "-1", "2.5", "many"):
        with pytest.raises(SystemExit) as stop:
            parser.parse_args(["--batch_size", wrong])
        assert stop.value.code == 2
        assert f"--batch_size: must be a whole number of at least 1, got {wrong}" in capsys.readouterr().err


def ended(error, capsys):
    with pytest.raises(SystemExit) as stop:
        run(fail_with(error))
    return stop.value.code, capsys.readouterr().err


def test_mistakes_of_the_program_are_one_sentence_that_asks_for_a_report(capsys):
    status, told = ended(KeyError("a\nbug"), capsys)
    assert status == 70 and told.count("\n") == 1
    assert told.startswith("unexpected: KeyError: 'a\\nbug'; please report it") and "HF_VIDMODELS_TRACEBACK=1" in told


@pytest.mark.parametrize("error", [ValueError("asked for"), KeyError("asked for")])
def test_the_traceback_is_shown_when_asked_for(error, monkeypatch, capsys):
    monkeypatch.setenv("HF_VIDMODELS_TRACEBACK", "1")
    _, told = ended(error, capsys)
    assert told.startswith("Traceback") and "raise error" in told


def test_ctrl_c_ends_with_one_sentence(capsys):
    status, told = ended(KeyboardInterrupt(), capsys)
    assert status == 130 and told.startswith("stopped: ") and told.count("\n") == 1


def test_sigterm_ends_as_ctrl_c_does(capsys):
    def main():
        signal.raise_signal(signal.SIGTERM)

    earlier = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        run(main)
    told = capsys.readouterr().err
    assert stop.value.code == 143 and told.startswith("stopped: ") and told.count("\n") == 1
    assert signal.getsignal(signal.SIGTERM) is earlier


def test_a_network_beyond_the_memory_is_for_the_user_to_mend(capsys):
    with pytest.raises(SystemExit) as stop:
        run(lambda: torch.empty(2**60))
    assert stop.value.code == 2 and capsys.readouterr().err.startswith("error: the memory is too small")


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), ImportError("no av")])
def test_what_the_machine_lacks_is_for_the_user_to_mend(error, capsys):
    status, told = ended(error, capsys)
    assert status == 2 and told.startswith("error: ")


@pytest.mark.parametrize("traceback", ["0", "1"])
def test_tokens_are_masked_in_sentences_and_tracebacks(traceback, monkeypatch, capsys):
    monkeypatch.setenv("HF_VIDMODELS_TRACEBACK", traceback)
    monkeypatch.setenv("HF_TOKEN", "my-own-form-of-token")
    secrets = ("hf_" + "a1" * 17, "my-own-form-of-token", "ghp_" + "b2" * 18)
    for error in (OSError, KeyError):
        _, told = ended(error(f"refused for {', '.join(secrets)}"), capsys)
        assert told.count("[token]") >= 3 and not any(secret in told for secret in secrets)


def test_names_do_not_steer_the_terminal(capsys):
    def main():
        print("found \x1b[2Jvideo\u202egpj.exe\tand \udcff")
        raise ValueError("no \x1b]0;title\x07 video")

    with pytest.raises(SystemExit):
        run(main)
    shown = capsys.readouterr()
    assert shown.out == "found \\x1b[2Jvideo\\u202egpj.exe\tand \\udcff\n"
    assert shown.err == "error: no \\x1b]0;title\\x07 video\n"
