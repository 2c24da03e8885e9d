import json
import logging
import pickle
import re
import shutil

import numpy as np
import pytest
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file

from fake_hub import TOKEN
from hf_vidmodels.hub.push import push_folder
from hf_vidmodels.hub.repository_folder import check_folder, repository_files

REPO_ID = "tester/asm-loc"


@pytest.fixture
def run_folder(finished_run, tmp_path):
    """A copy of the finished run that a test may change."""
    return shutil.copytree(finished_run, tmp_path / "asm-loc-digits")


@pytest.fixture
def waits(monkeypatch):
    """Waiting times, not waited for."""
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    return waited


# -- what is uploaded


def test_the_repository_gets_the_model_its_code_and_its_card_but_no_training_states(run_folder, hub):
    address = push_folder(run_folder, REPO_ID, private=True)
    assert address == f"{hub.url}/{REPO_ID}"
    repository = hub.repository(REPO_ID)
    assert repository.private
    files = repository.files()
    assert sorted(files) == repository_files(run_folder)
    wanted = {"config.json", "model.safetensors", "preprocessor_config.json", "README.md", "modeling_asm_loc.py"}
    wanted |= {"run.json", "metrics.json", "figures/loss_curve.png"}
    assert wanted <= set(files)
    assert not [name for name in files if name.startswith(("checkpoints", "runs"))]
    assert all(content == (run_folder / name).read_bytes() for name, content in files.items())
    assert b'model_id = "tester/asm-loc"' in files["README.md"]


def test_names_with_wildcards_mean_themselves(run_folder, hub):
    (run_folder / "figures" / "video [1].png").write_bytes(b"picture")
    push_folder(run_folder, REPO_ID)
    assert "figures/video [1].png" in hub.repository(REPO_ID).files()


def test_hidden_files_and_tracker_folders_stay_at_home(tmp_path):
    shared = ["config.json", ".eval_results/a.yaml", ".gitattributes", "feature_extractor/config.json"]
    private = [".env", ".cache/x", "wandb/run/log.txt", "runs/events", "checkpoints/last/weights.safetensors",
               "figures/.png.tmp", "__pycache__/a.pyc", "sub/__pycache__/a.pyc"]  # fmt: skip
    for name in shared + private:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert repository_files(tmp_path) == sorted(shared)


def test_pushing_again_sends_only_what_changed(run_folder, hub):
    push_folder(run_folder, REPO_ID)
    (run_folder / "run.json").write_text("{}")
    before = hub.requests.count("lfs-upload")
    push_folder(run_folder, REPO_ID, commit_message="Correct run.json")
    assert hub.requests.count("lfs-upload") == before
    assert hub.repository(REPO_ID).messages == ["Upload asm-loc-digits with hf_vidmodels", "Correct run.json"]
    assert hub.repository(REPO_ID).files()["run.json"] == b"{}"


def test_a_revision_is_a_branch_of_its_own(run_folder, hub):
    push_folder(run_folder, REPO_ID, revision="trial")
    repository = hub.repository(REPO_ID)
    assert "model.safetensors" in repository.files("trial")
    assert repository.files("main") == {}
    assert HfApi().model_info(REPO_ID, revision="trial").sha == repository.branches["trial"]


# -- what is refused before anything is sent


def break_code(folder):
    (folder / "modeling_base.py").unlink()


def forget_code(folder):
    config = json.loads((folder / "config.json").read_text())
    del config["auto_map"]
    (folder / "config.json").write_text(json.dumps(config))


def cut_weights(folder):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-8])


def leak_token(folder):
    (folder / "recipe.yaml").write_text("hub_token: hf_" + "abcdefghij" * 3)


@pytest.mark.parametrize(
    ("harm", "error", "complaint"),
    [
        (lambda folder: (folder / "pytorch_model.bin").touch(), ValueError, "pytorch_model.bin: only safetensors"),
        (lambda folder: (folder / "figures" / "data.pkl").touch(), ValueError, "figures/data.pkl: only safetensors"),
        (lambda folder: (folder / "config.json").unlink(), FileNotFoundError, "config.json is missing; save"),
        (lambda folder: (folder / "config.json").write_text("{"), ValueError, "config.json is not valid JSON"),
        (lambda folder: (folder / "config.json").write_text("{}"), ValueError, "config.json has no model_type"),
        (lambda folder: (folder / "model.safetensors").unlink(), FileNotFoundError, "model.safetensors is missing"),
        (cut_weights, ValueError, "model.safetensors is no whole safetensors file"),
        (lambda folder: (folder / "README.md").unlink(), FileNotFoundError, "README.md is missing; make the card"),
        (lambda folder: (folder / "README.md").write_text("# Hi"), ValueError, "does not begin with metadata"),
        (forget_code, FileNotFoundError, "has no code .*export_code"),
        (break_code, FileNotFoundError, "is not whole, modeling_base.py is missing"),
        (leak_token, ValueError, "recipe.yaml holds what looks like an access token"),
        (shutil.rmtree, FileNotFoundError, "is no folder"),
    ],
)
def test_a_folder_that_is_not_whole_or_not_safe_is_refused(run_folder, hub, harm, error, complaint):
    harm(run_folder)
    with pytest.raises(error, match=complaint):
        push_folder(run_folder, REPO_ID)
    assert hub.requests == []


@pytest.mark.parametrize(
    "name",
    [
        "a.PTH",
        "model.pth.tar",
        "model.dill",
        "x.joblib",
        "figures/w.pkl.gz",
        "w.pickle.bz2",
        "best.ckpt.bak",
        "w.pkl~",
    ],
)
def test_pickles_are_known_by_any_spelling_of_their_names(run_folder, name):
    (run_folder / name).write_bytes(b"harmless")
    with pytest.raises(ValueError, match=f"{re.escape(name)}: only safetensors"):
        check_folder(run_folder)


def test_pickles_are_known_by_what_they_hold(run_folder):
    (run_folder / "notes.txt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match="notes.txt: only safetensors"):
        check_folder(run_folder)
    (run_folder / "notes.txt").unlink()
    np.save(run_folder / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="a.npy: only safetensors"):
        check_folder(run_folder)
    np.save(run_folder / "a.npy", np.zeros(3))
    assert "a.npy" in check_folder(run_folder)


@pytest.mark.parametrize("coding", ["utf-8", "utf-16", "utf-16-be", "utf-32", "latin-1"])
@pytest.mark.parametrize("name", ["notes", "settings.cfg", "train.log", "figures/loss_curve.png"])
def test_secrets_are_found_in_any_file_and_coding(run_folder, monkeypatch, name, coding):
    monkeypatch.setenv("HF_TOKEN", "an-unusual-token")
    for secret in ("hf_" + "abcdefghij" * 3, "an-unusual-token", "ghp_" + "a1B2" * 9, "AKIA" + "A1" * 8):
        (run_folder / name).write_bytes(f"é key={secret}\n".encode(coding))
        with pytest.raises(ValueError, match=f"{re.escape(name)} holds what looks like") as caught:
            check_folder(run_folder)
        assert secret not in str(caught.value)


def test_secrets_are_found_where_two_parts_of_a_long_file_meet_and_beside_weights(run_folder, monkeypatch):
    monkeypatch.setattr("hf_vidmodels.secrets_in_text._CHUNK", 64)
    token = b"hf_" + b"abcdefghij" * 3
    (run_folder / "long.log").write_bytes(b" " * 50 + token + b"\n")
    with pytest.raises(ValueError, match="long.log holds"):
        check_folder(run_folder)
    (run_folder / "long.log").unlink()
    weights = load_file(run_folder / "model.safetensors")
    save_file(weights, run_folder / "model.safetensors", {"format": "pt", "note": token.decode()})
    with pytest.raises(ValueError, match="model.safetensors holds"):
        check_folder(run_folder)


@pytest.mark.parametrize("place", ["figures/link.png", "linked"])
def test_symbolic_links_are_not_followed(run_folder, tmp_path, place):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.txt").write_text("mine")
    target = tmp_path / "elsewhere" if place == "linked" else tmp_path / "elsewhere" / "secret.txt"
    (run_folder / place).symlink_to(target)
    with pytest.raises(ValueError, match=f"{place} is a symbolic link, which is not followed"):
        check_folder(run_folder)
    # What stays at home may be a link, and so may the folder itself.
    (run_folder / place).unlink()
    (run_folder / "checkpoints" / "link").symlink_to(target)
    (tmp_path / "run").symlink_to(run_folder)
    assert check_folder(tmp_path / "run")


@pytest.mark.parametrize(
    "auto_map", ["a.B", ["a.B"], {"AutoModel": 3}, {"AutoModel": "../a.B"}, {"AutoModel": "noclass"}]
)
def test_an_auto_map_that_names_no_code_is_one_sentence(run_folder, auto_map):
    change_config(run_folder, auto_map=auto_map)
    with pytest.raises((ValueError, FileNotFoundError), match="auto_map that names no module and class|not whole"):
        check_folder(run_folder)


def test_a_checkpoint_whose_feature_networks_stay_behind_is_refused(run_folder, tmp_path):
    (tmp_path / "network").mkdir()
    for fields, harmed in [
        ({"model": str(tmp_path / "network")}, True),
        ({"model": "torchvision:r3d_18", "weights": "/data/r3d.safetensors"}, True),
        ({"subfolder": "feature_extractor/rgb"}, True),
        ({"subfolder": "figures"}, False),
        ({"model": "MCG-NJU/videomae-base"}, False),
        ({"model": "torchvision:r3d_18", "random_init_seed": 0}, False),
    ]:
        change_config(run_folder, feature_extractor={"streams": {"rgb": fields}})
        if harmed:
            with pytest.raises(ValueError, match="takes its rgb features from .*, which is not in the folder"):
                check_folder(run_folder)
        else:
            assert check_folder(run_folder)


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_weights_in_several_files_are_all_needed(run_folder):
    (run_folder / "model.safetensors").rename(run_folder / "model-00001-of-00002.safetensors")
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (run_folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(FileNotFoundError, match="model-00002-of-00002.safetensors is missing"):
        check_folder(run_folder)


def test_the_token_in_use_is_found_in_any_text_file(run_folder, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "an-unusual-token")
    (run_folder / "training_log.jsonl").write_text('{"note": "an-unusual-token"}')
    with pytest.raises(ValueError, match="training_log.jsonl holds what looks like") as caught:
        push_folder(run_folder, REPO_ID)
    assert "unusual" not in str(caught.value)


@pytest.mark.parametrize("repo_id", ["a/b/c", "tester/has space", ""])
def test_a_name_that_is_no_repository_is_refused(run_folder, hub, repo_id):
    card = (run_folder / "README.md").read_text()
    with pytest.raises(ValueError, match="is no name of a repository"):
        push_folder(run_folder, repo_id)
    assert hub.requests == []
    assert (run_folder / "README.md").read_text() == card


def test_without_a_token_nothing_is_sent(run_folder, hub, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with pytest.raises(PermissionError, match="run `hf auth login`"):
        push_folder(run_folder, REPO_ID)
    assert hub.requests == []


def test_offline_nothing_is_sent(run_folder, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE is set"):
        push_folder(run_folder, REPO_ID)
    assert hub.requests == []


# -- failures on the way


@pytest.mark.parametrize("status", [500, 503, 429, None])
@pytest.mark.parametrize("kind", ["create", "commit"])
def test_passing_failures_are_repeated_with_growing_waits(run_folder, hub, waits, caplog, kind, status):
    hub.fail(kind, times=3, status=status)
    with caplog.at_level(logging.WARNING):
        push_folder(run_folder, REPO_ID)
    assert waits == [1, 2, 4]
    assert len(hub.repository(REPO_ID).messages) == 1
    assert "trying again in 4 s (3 of 4)" in caplog.text


def test_large_files_that_arrived_are_not_sent_again(run_folder, hub, waits):
    hub.fail("commit", times=1)
    push_folder(run_folder, REPO_ID)
    assert hub.requests.count("commit") == 2
    assert hub.requests.count("lfs-upload") == len(hub.large_files)


@pytest.mark.parametrize("status", [503, None])
@pytest.mark.parametrize("kind", ["create", "preupload", "lfs-upload", "commit"])
def test_lasting_failures_end_with_one_sentence_that_says_what_to_do(run_folder, hub, waits, kind, status):
    hub.fail(kind, status=status)
    with pytest.raises(ConnectionError) as caught:
        push_folder(run_folder, REPO_ID, max_retries=2)
    sentence = str(caught.value)
    assert f"failed 3 times, the {'connection' if status is None else 'Hub answered with status 503'}" in sentence
    assert "nothing is lost, run hf-vidmodels push --folder" in sentence
    assert "\n" not in sentence and TOKEN not in sentence and "http" not in sentence
    hub.failures.clear()
    push_folder(run_folder, REPO_ID)
    assert "model.safetensors" in hub.repository(REPO_ID).files()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("kind", ["create", "commit"])
def test_a_refused_token_is_not_tried_again_and_never_shown(run_folder, hub, waits, caplog, kind, status):
    if kind == "commit":
        push_folder(run_folder, REPO_ID)
        (run_folder / "run.json").write_text("{}")
    hub.fail(kind, status=status)
    with pytest.raises(PermissionError, match="run `hf auth login` with a token that may write") as caught:
        push_folder(run_folder, REPO_ID)
    assert waits == []
    assert TOKEN not in str(caught.value) + caplog.text


def test_a_card_that_the_hub_refuses_is_an_error_about_the_card(run_folder, hub, waits):
    card = (run_folder / "README.md").read_text()
    (run_folder / "README.md").write_text(card.replace("license: apache-2.0", "license: [a, b]"))
    with pytest.raises(ValueError, match="license"):
        push_folder(run_folder, REPO_ID)
    assert waits == []
