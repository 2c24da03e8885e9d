"""The scripts, run in this process as their commands run."""

import runpy
import sys
from functools import partial
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def run_script(tmp_path, monkeypatch, capfd):
    """Run a script that writes to `tmp_path / "out"`: (its name, arguments) -> (exit status, stdout, stderr)."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments), "--output_dir", str(tmp_path / "out")])
        status = 0
        try:
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        except SystemExit as stop:
            status = stop.code
        return status, *capfd.readouterr()

    return run


@pytest.fixture
def predict(run_script):
    """Run scripts/predict.py, as `run_script`."""
    return partial(run_script, "predict.py")


@pytest.fixture
def extract(run_script):
    """Run scripts/extract_features.py, as `run_script`."""
    return partial(run_script, "extract_features.py")
