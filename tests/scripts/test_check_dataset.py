import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPTS = Path(__file__).parents[2] / "scripts"


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run_script(tmp_path, monkeypatch, capfd):
    """Run a script as `python scripts/NAME ARGUMENTS` does, without waiting for another interpreter."""

    def run(name, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        status = 0
        try:
            runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        except SystemExit as exit_:
            status = exit_.code
        return Done(status, *capfd.readouterr())

    return run


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    (folder / "features").mkdir(parents=True)
    for name in "ab":
        np.save(folder / "features" / f"{name}.npy", np.zeros((25, 4), dtype=np.float32))
    (folder / "annotations.csv").write_text(
        "video_id,label,start,end,subset,duration,fps,frames_per_snippet\n"
        "a,golf,1,2,train,16,25,16\nb,golf,3,4,test,16,25,16\n"
    )
    return folder


def test_a_good_corpus_gives_its_table_and_pictures(corpus, tmp_path, run_script):
    done = run_script("check_dataset.py", "--corpus", corpus, "--feature_size", 4, "--output_dir", "out")
    assert done.returncode == 0, done.stderr
    assert "temporal-action-localization" in done.stdout and "problems: none" in done.stdout
    assert any(line.split()[:5] == ["train", "1", "1", "of", "1"] for line in done.stdout.splitlines())
    for split in ("train", "test"):
        assert Image.open(tmp_path / "out" / f"{split}.png").width > 500


def test_every_problem_is_listed_and_the_status_says_so(corpus, tmp_path, run_script):
    table = corpus / "annotations.csv"
    table.write_text(table.read_text() + "a,golf,9,5,train,16,25,16\na,golf,9,50,train,16,25,16\n")
    np.save(corpus / "features" / "b.npy", np.full((25, 4), np.nan, dtype=np.float32))
    done = run_script("check_dataset.py", "--corpus", corpus)
    assert done.returncode == 2
    assert "error: split 'train': 1 segments end before they start (a [9, 5])" in done.stdout
    assert "error: split 'train': 1 segments in 1 videos reach beyond" in done.stdout
    assert "b.npy has the value nan in row 0" in done.stdout
    assert done.stderr == "error: 3 of the 3 problems must be mended before training\n"
    assert (tmp_path / "runs" / "check_dataset" / "train.png").is_file(), "pictures help to see what is wrong"


def test_wrong_columns_are_answered_with_the_contract(corpus, run_script):
    done = run_script("check_dataset.py", "--corpus", corpus, "--task", "image-classification")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "is not a corpus for image-classification" in done.stderr
    table = corpus / "metadata.csv"
    table.write_text("image,lable\nfeatures/a.npy,golf\n")
    done = run_script("check_dataset.py", "--corpus", corpus, "--task", "image-classification")
    assert done.returncode == 2
    assert "columns of a corpus for image-classification:" in done.stdout
    assert "needs a column 'label'" in done.stdout


def test_missing_files_are_one_sentence_on_stderr(corpus, run_script):
    for name in "ab":
        (corpus / "features" / f"{name}.npy").unlink()
    done = run_script("check_dataset.py", "--corpus", corpus)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: 2 of 2 feature or video files are missing in")


def test_the_converter_of_wtalc_files_reports_what_is_missing(tmp_path, run_script):
    done = run_script("convert_wtalc_annotations.py", tmp_path, tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "videoname.npy" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("split", ["../../escaped", "/tmp/hf_vidmodels_escaped", "a\\b"])
def test_the_name_of_a_split_writes_nothing_outside_the_output_folder(corpus, tmp_path, run_script, split):
    table = corpus / "annotations.csv"
    table.write_text(table.read_text().replace(",test,", f",{split},"))
    before = {path for path in tmp_path.rglob("*") if "out" not in path.parts}
    done = run_script("check_dataset.py", "--corpus", corpus, "--output_dir", "out/pictures")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert {path for path in tmp_path.rglob("*") if "out" not in path.parts} == before
    assert not Path("/tmp/hf_vidmodels_escaped.png").exists() and not (tmp_path / "escaped.png").exists()


def test_pictures_are_not_drawn_into_the_corpus(corpus, run_script):
    done = run_script("check_dataset.py", "--corpus", corpus, "--output_dir", corpus / "features" / "..")
    assert done.returncode == 2 and "which it could overwrite" in done.stderr
