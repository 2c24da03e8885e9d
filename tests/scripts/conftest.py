"""The scripts, run in this process as their commands run."""

from functools import partial

import pytest

from script_runs import run_here


@pytest.fixture
def run_script(tmp_path):
    """Run a script that writes to `tmp_path / "out"`: (its name, arguments) -> (exit status, stdout, stderr)."""

    def run(name, *arguments):
        return run_here(name, *arguments, "--output_dir", tmp_path / "out")

    return run


@pytest.fixture
def predict(run_script):
    """Run scripts/predict.py, as `run_script`."""
    return partial(run_script, "predict.py")


@pytest.fixture
def extract(run_script):
    """Run scripts/extract_features.py, as `run_script`."""
    return partial(run_script, "extract_features.py")
