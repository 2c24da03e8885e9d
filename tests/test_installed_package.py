"""The package as others get it: a wheel, installed where there is no checkout, does its work by its command."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile

import pytest

from asm_loc_corpus import write_corpus, write_recipe
from script_runs import ROOT, environment

BUILT_FROM = ("src", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
NOT_SHIPPED = {".pyc"}


def succeed(*command, **settings):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, **settings)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    # What libraries say of their own says nothing about the work.
    assert not any(noise in done.stderr for noise in ("Warning", "Writing model shards", "Downloading", "Generating"))
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy, which keeps the traces of building out of the checkout."""
    source = tmp_path_factory.mktemp("source")
    for name in BUILT_FROM:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(path, source / name)
    folder = tmp_path_factory.mktemp("wheel")
    without_network = ("--no-build-isolation", "--no-deps", "--no-index", "--quiet")
    succeed(sys.executable, "-m", "pip", "wheel", *without_network, "--wheel-dir", folder, source)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def program(wheel, tmp_path_factory):
    """Install the wheel into a fresh environment that borrows the other packages of this one."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False)
    bin_folder = folder / ("Scripts" if os.name == "nt" else "bin")
    without_network = ("--no-deps", "--no-index", "--quiet")
    succeed(sys.executable, "-m", "pip", "--python", bin_folder / "python", "install", *without_network, wheel)
    packages = next(folder.glob("lib/python*/site-packages"))
    # A plain path: the files in it that would bring the checkout along are not followed from there.
    (packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return bin_folder / "hf-vidmodels"


def test_the_wheel_holds_every_file_of_the_package(wheel):
    package = ROOT / "src" / "hf_vidmodels"
    expected = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in NOT_SHIPPED
    }
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if name.startswith("hf_vidmodels/")}
    assert found == expected


def test_an_installed_package_trains_predicts_and_evaluates_without_the_checkout(program, tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    write_recipe(tmp_path / "small.yaml", corpus, num_refinement_steps=0, num_train_epochs=1)
    variables = environment()
    variables.pop("PYTHONPATH", None)
    here = {"cwd": tmp_path, "env": variables}

    where = [program.parent / "python", "-c", "import hf_vidmodels; print(hf_vidmodels.__file__)"]
    assert succeed(*where, **here).startswith(str(program.parents[1]))
    succeed(program, "train", "--recipe", "small.yaml", "--output_dir", "run", **here)
    succeed(program, "predict", "--model", "run", "--input", corpus / "features", "--output_dir", "found", **here)
    succeed(program, "evaluate", "--model", "run", "--corpus", corpus, "--output_dir", "scores", **here)

    assert json.loads((tmp_path / "run" / "run.json").read_text())["stages"][0]["steps"] == 2
    assert (tmp_path / "run" / "README.md").read_text().startswith("---\n")
    assert len(json.loads((tmp_path / "found" / "predictions.json").read_text())["results"]) == 12
    scores, in_training = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("scores", "run"))
    assert scores["metrics"] == pytest.approx(in_training["metrics"], abs=1e-6)
