import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fake_hub import TOKEN, FakeHub
from hf_vidmodels.hub.repository_folder import repository_files

ROOT = Path(__file__).parents[2]
PUSH = ROOT / "scripts" / "push_to_hub.py"
RENDER = ROOT / "scripts" / "render_model_cards.py"
OPENER = Path(__file__).parent / "open_checkpoints.py"
REPO_ID = "tester/asm-loc"


@pytest.fixture
def run_script(monkeypatch, capsys):
    """Runs a script in this process; gives exit status, output and errors."""

    def call(path, *arguments):
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        status = 0
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as end:
            status = end.code or 0
        return status, *capsys.readouterr()

    return call


# -- between processes, through the Hub's HTTP interface


@pytest.fixture(scope="module")
def shared_run(finished_run, tmp_path_factory):
    """A run uploaded by the script in its own process, the Hub that has it, and what the script said meanwhile."""
    home = tmp_path_factory.mktemp("home")
    folder = shutil.copytree(finished_run, tmp_path_factory.mktemp("shared") / "asm-loc-digits")
    with FakeHub() as hub:
        hub.fail("commit")
        failed = push_in_new_process(hub, home, folder, "--max_retries", "1")
        hub.fail("commit", times=1)
        succeeded = push_in_new_process(hub, home, folder, "--private")
        yield hub, home, folder, failed, succeeded


def push_in_new_process(hub, home, folder, *more):
    command = [sys.executable, str(PUSH), "--folder", str(folder), "--repo_id", REPO_ID, *more]
    return run_in_new_process(command, hub, home)


def run_in_new_process(command, hub, home):
    return subprocess.run(
        command, env=hub.environment(home), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )


def test_a_failing_upload_ends_with_status_2_and_one_sentence(shared_run):
    _, _, folder, failed, _ = shared_run
    assert failed.returncode == 2
    errors = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert f"run hf-vidmodels push --folder {folder} --repo_id {REPO_ID} again later" in errors[0]
    assert "Traceback" not in failed.stderr
    assert "failed 2 times, the Hub answered with status 503" in errors[0]


def test_a_repeated_upload_succeeds_in_one_commit(shared_run):
    hub, _, folder, _, succeeded = shared_run
    assert succeeded.returncode == 0, succeeded.stderr
    assert succeeded.stdout.strip() == f"uploaded {folder} to {hub.url}/{REPO_ID}"
    assert "trying again in 1 s (1 of 4)" in succeeded.stderr
    assert len(hub.repository(REPO_ID).messages) == 1
    assert sorted(hub.repository(REPO_ID).files()) == repository_files(folder)


def test_the_token_is_neither_printed_nor_saved(shared_run):
    hub, home, folder, failed, succeeded = shared_run
    assert TOKEN not in failed.stdout + failed.stderr + succeeded.stdout + succeeded.stderr
    written = [path for place in (home, folder) for path in place.rglob("*") if path.is_file()]
    assert not [path for path in written if TOKEN.encode() in path.read_bytes()]
    assert not [name for name, content in hub.repository(REPO_ID).files().items() if TOKEN.encode() in content]


@pytest.mark.parametrize(("way", "package"), [("package", "hf_vidmodels"), ("remote", "transformers_modules")])
def test_the_repository_opens_by_its_name_and_answers_bit_for_bit(
    shared_run, finished_checkpoint, tmp_path, way, package
):
    hub, home, _, _, _ = shared_run
    (tmp_path / "jobs.json").write_text(json.dumps(finished_checkpoint.jobs(REPO_ID, tmp_path / "again")))
    files = str(tmp_path / "jobs.json"), str(tmp_path / "results.json")
    process = run_in_new_process([sys.executable, "-I", str(OPENER), way, *files], hub, home)
    assert process.returncode == 0, process.stderr
    results = [result for job in json.loads((tmp_path / "results.json").read_text()) for result in job]
    assert all(result["equal"] for result in results)
    assert {result["module"].split(".")[0] for result in results} == {package}
    assert TOKEN not in process.stdout + process.stderr


# -- the command lines


def test_a_dry_run_refuses_a_name_that_no_repository_can_have(finished_run, hub, run_script):
    status, output, error = run_script(PUSH, "--folder", finished_run, "--repo_id", "a b/c/d", "--dry_run")
    assert (status, output, hub.requests) == (2, "", [])
    assert error.startswith("error: 'a b/c/d' is no name of a repository")


def test_a_dry_run_lists_the_files_and_sends_nothing(finished_run, hub, run_script):
    status, output, _ = run_script(PUSH, "--folder", finished_run, "--repo_id", REPO_ID, "--dry_run")
    assert status == 0
    files = repository_files(finished_run)
    assert [line.split()[-1] for line in output.splitlines()[:-1]] == files
    assert f"would upload {len(files)} files" in output
    assert hub.requests == []


def test_an_unfit_folder_is_one_sentence_and_status_2(tmp_path, hub, run_script):
    status, _, errors = run_script(PUSH, "--folder", tmp_path, "--repo_id", REPO_ID)
    assert status == 2
    assert errors.startswith(f"error: {tmp_path}/config.json is missing; save the model there")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(("script", "command"), [(PUSH, "push"), (RENDER, "card")])
def test_help_shows_commands_to_copy(script, command, run_script):
    status, output, _ = run_script(script, "--help")
    assert status == 0
    assert f"    hf-vidmodels {command} --" in output or f"    hf-vidmodels {command} runs/" in output


def test_cards_of_several_runs_are_rendered_with_their_pictures(finished_run, tmp_path, run_script):
    status, output, _ = run_script(RENDER, finished_run, f"second={finished_run}", "--output_dir", tmp_path)
    assert status == 0
    assert output.splitlines() == [f"wrote {tmp_path}/asm-loc-digits.md", f"wrote {tmp_path}/second.md"]
    card = (tmp_path / "second.md").read_text()
    assert "](second/figures/timelines.png)" in card
    assert (tmp_path / "second" / "figures" / "timelines.png").is_file()


@pytest.mark.parametrize(
    ("runs", "complaint"),
    [(["{run}", "{run}"], "several runs are named asm-loc-digits"), (["../x={run}"], "cannot be named '../x'")],
)
def test_names_of_cards_must_be_usable_and_different(finished_run, tmp_path, run_script, runs, complaint):
    runs = [text.format(run=finished_run) for text in runs]
    status, _, errors = run_script(RENDER, *runs, "--output_dir", tmp_path)
    assert status == 2
    assert complaint in errors
    assert not list(tmp_path.iterdir())
