"""MAL by the real commands: two processes train on a folder with COCO files, and the run labels one of them."""

import json

import pytest
import yaml
from pycocotools.coco import COCO

from hf_vidmodels.data.embedded.embedded_corpora import load_embedded_corpus
from hf_vidmodels.data.embedded.embedded_pictures import PictureParameters
from hf_vidmodels.data.instances.coco_content import write_instance_file
from script_runs import run_here, run_in_two_processes

CORPUS = PictureParameters(
    splits=(("train", 9), ("test", 5)),
    size=64,
    digits=(1, 2),
    side=(24, 40),
    clutter=(1, 2),
    clutter_side=(12, 20),
)
RECIPE = {
    "method": "mal",
    "model": {
        "preset": "mal-vit-deit-tiny",
        "encoder": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "pretrain_image_size": 32},
        "image_size": 32,
        "mask_head_hidden_size": 8,
        "mask_embed_size": 8,
        "crf_num_iterations": 5,
        "loss_mil_warmup_steps": 0,
        "loss_crf_warmup_steps": 0,
    },
    "min_train_area": 50.0,
    "warmup_epochs": 0.0,
    "learning_rate": 0.001,
    "num_train_epochs": 2,
    "per_device_train_batch_size": 3,
    "logging_steps": 1,
    "save_strategy": "no",
}


@pytest.fixture
def corpus(tmp_path):
    """A folder with pictures and an instance file for each of two splits."""
    folder = tmp_path / "corpus"
    (folder / "images").mkdir(parents=True)
    for split in ("train", "test"):
        pictures = load_embedded_corpus("boxes", cache_dir=tmp_path / "cache", split=split, parameters=CORPUS)
        file = folder / f"instances_{split}.json"
        place = write_instance_file(pictures, file)
        content = json.loads(file.read_text())
        # Pictures of two splits must not share ids.
        content["images"] = [one | {"id": f"{split}{one['id']}"} for one in content["images"]]
        content["annotations"] = [one | {"image_id": f"{split}{one['image_id']}"} for one in content["annotations"]]
        file.write_text(json.dumps(content))
        (folder / "images" / split).symlink_to(place.absolute())
    return folder


def test_two_processes_train_and_the_run_labels_a_file(corpus, tmp_path):
    recipe, run = tmp_path / "small.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump({**RECIPE, "dataset_name": str(corpus)}))
    words = ["--recipe", str(recipe), "--output_dir", str(run)]
    done = run_in_two_processes("train.py", *words)
    assert done.status == 0, done.stderr[-3000:]
    assert json.loads((run / "run.json").read_text())["world_size"] == 2
    results = json.loads((run / "metrics.json").read_text())
    assert 0 < results["metrics"]["mIoU"] < 1
    assert (run / "README.md").is_file()

    alone = run_here("evaluate.py", "--model", run, "--corpus", corpus, "--output_dir", tmp_path / "alone")
    assert alone.status == 0, alone.stderr
    assert "filled box" in alone.stdout and "COCO's mask AP" in alone.stdout
    assert json.loads((tmp_path / "alone" / "metrics.json").read_text())["metrics"] == results["metrics"]

    labelled = run_here(
        *("label_masks.py", "--model", run, "--annotations", corpus / "instances_test.json"),
        *("--images", corpus / "images" / "test", "--output", tmp_path / "masks.json"),
    )
    assert labelled.status == 0, labelled.stderr
    found = COCO(tmp_path / "masks.json")
    predicted = {one["id"]: one for one in json.loads((run / "predictions.json").read_text())["annotations"]}
    for annotation in found.anns.values():
        # The same network gave the same mask when the run was evaluated.
        assert annotation["segmentation"] == predicted[annotation["id"]]["segmentation"]
        assert annotation["area"] == found.annToMask(annotation).sum()


def test_no_box_to_train_on_is_said_before_anything_is_written(corpus, tmp_path):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(yaml.safe_dump({**RECIPE, "dataset_name": str(corpus), "min_train_area": 10000.0}))
    done = run_here("train.py", "--recipe", recipe, "--output_dir", tmp_path / "run")
    assert done.status == 2
    assert "can be trained on" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()
