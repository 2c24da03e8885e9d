import pytest

from hf_vidmodels.training.launch import check_processes

LAUNCHER_VARIABLES = ("WORLD_SIZE", "MASTER_ADDR", "ACCELERATE_MIXED_PRECISION")


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in LAUNCHER_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_a_plain_start_and_a_good_launch_pass(monkeypatch):
    check_processes(1)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    check_processes(1)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_processes(2)


def test_processes_that_know_nothing_of_each_other_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="started 2 processes, but Accelerate joins 1.*ACCELERATE_USE_CPU=true"):
        check_processes(1)


def test_one_process_where_several_were_asked_for_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(ValueError, match="asked for several processes, but started one.*unset MASTER_ADDR"):
        check_processes(1)
