import json
import random
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from hf_vidmodels import MalForMaskLabeling, MalImageProcessor
from hf_vidmodels.commands.labelling import labelling_journal, labelling_network
from hf_vidmodels.data.corpora import load_corpus
from hf_vidmodels.data.embedded.embedded_corpora import load_embedded_corpus
from hf_vidmodels.data.embedded.embedded_pictures import PictureParameters
from hf_vidmodels.data.instances.coco_content import write_instance_file
from hf_vidmodels.metrics.mask_average_precision import coco_average_precision
from hf_vidmodels.modeling.ops.run_length_masks import decode_rles, segmentation_rles
from mask_examples import write_json_file, write_pictures
from method_examples import mal_config
from script_runs import SCRIPTS, TWO_PROCESSES, environment, run_here

EMPTYING_THRESHOLD = 0.5
CORPUS = PictureParameters(
    splits=(("train", 24),),
    size=96,
    digits=(1, 5),
    side=(32, 48),
    clutter=(2, 4),
    clutter_side=(16, 28),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("mal")
    network = MalForMaskLabeling(mal_config())
    with torch.no_grad():
        for parameter in network.student.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    network.save_pretrained(folder)
    MalImageProcessor.from_config(network.config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Annotation file and folder of pictures."""
    folder = tmp_path_factory.mktemp("corpus")
    train = load_embedded_corpus("boxes", cache_dir=folder, split="train", parameters=CORPUS)
    return folder / "boxes.json", write_instance_file(train, folder / "boxes.json")


@pytest.fixture
def own_corpus(tmp_path):
    """A function that writes an annotation file of two pictures with changes to the first of its four boxes."""
    write_pictures(tmp_path / "pictures", "a.png", "b.png", size=(90, 70))

    def write(changes=None, **members):
        boxes = [(1, [5, 6, 40, 30]), (2, [0, 0, 90, 70]), (1, [10, 10, 2, 30]), (2, [50.5, 20.25, 30, 40])]
        annotations = [
            {"id": 10 * number, "image_id": image, "category_id": 1, "bbox": box, "area": 1, "note": [number]}
            for number, (image, box) in enumerate(boxes, start=1)
        ]
        annotations[0] |= changes or {}
        content = {
            "info": {"x": 1},
            "images": [{"id": id, "file_name": f"{x}.png", "height": 70, "width": 90} for id, x in enumerate("ab", 1)],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "x"}],
            **members,
        }
        given = {key: value for key, value in content.items() if value is not None}
        return write_json_file(tmp_path / "in.json", given)

    return write


def label(model, annotations, pictures, output, *options):
    return run_here(
        "label_masks.py",
        *("--model", model, "--annotations", annotations, "--images", pictures, "--output", output),
        *("--device", "cpu", "--num_overlays", 2, *options),
    )


@pytest.fixture(scope="module")
def whole(model, corpus, tmp_path_factory):
    """The output of a run that nobody disturbed."""
    output = tmp_path_factory.mktemp("whole") / "masks.json"
    done = label(model, *corpus, output)
    assert done.status == 0, done.stderr
    return output, done


def test_every_annotation_gets_a_mask_and_keeps_what_it_had(whole, corpus):
    output, done = whole
    before, after = json.loads(corpus[0].read_text()), json.loads(output.read_text())
    assert after["images"] == before["images"] and after["categories"] == before["categories"]
    assert [item["id"] for item in after["annotations"]] == [item["id"] for item in before["annotations"]]
    for old, new in zip(before["annotations"], after["annotations"], strict=True):
        kept = ("image_id", "category_id", "bbox", "iscrowd")
        assert [old[key] for key in kept] == [new[key] for key in kept]
        mask = decode_rles([new["segmentation"]])[0]
        assert mask.shape == (96, 96) and new["area"] == mask.sum() > 0 and 0 < new["score"] <= 1
    coco = COCO(str(output))
    assert coco.annToMask(coco.anns[new["id"]]).sum() == new["area"]
    assert "masks per second" in done.stdout and "labelled" in done.stdout
    assert Image.open(output.with_name("masks.overlays.jpg")).width > 1200
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "masks.json",
        "masks.overlays.jpg",
        "masks.report.json",
    ]


def test_masks_are_those_of_the_model_asked_directly(whole, model, corpus):
    annotations = json.loads(whole[0].read_text())
    first = annotations["images"][0]
    of_first = [item for item in annotations["annotations"] if item["image_id"] == first["id"]]
    boxes = np.array([item["bbox"] for item in of_first], dtype=np.float32)
    boxes[:, 2:] += boxes[:, :2]
    network = MalForMaskLabeling.from_pretrained(model).eval()
    (answer,) = network.label_masks([str(corpus[1] / first["file_name"])], [boxes], encode_rle=True)
    found = decode_rles([item["segmentation"] for item in of_first])
    assert (found != decode_rles(answer["segmentation"])).sum() <= 2
    np.testing.assert_allclose([item["score"] for item in of_first], answer["scores"], atol=1e-4)


def test_pictures_are_decoded_once(model, corpus, tmp_path, monkeypatch):
    read, opened = MalImageProcessor.read, []

    def counted(self, source):
        if isinstance(source, str):
            opened.append(source)
        return read(self, source)

    monkeypatch.setattr(MalImageProcessor, "read", counted)
    assert label(model, *corpus, tmp_path / "masks.json").status == 0
    assert len(opened) == len(set(opened)) == 24


def test_a_second_call_does_nothing_and_other_settings_are_refused(whole, model, corpus, monkeypatch):
    output = whole[0]
    before = output.stat().st_mtime_ns
    monkeypatch.setattr(labelling_network.Labeler, "label", None)
    done = label(model, *corpus, output)
    assert done.status == 0 and "is there already, with these settings" in done.stdout
    assert output.stat().st_mtime_ns == before
    done = label(model, *corpus, output, "--threshold", "0.5")
    assert done.status == 2 and "begun with another threshold (null, now [0.5])" in done.stderr
    done = label(model, *corpus, output, "--area", "box")
    assert done.status == 2 and 'begun with another area ("mask", now "box")' in done.stderr


def killed(command, journal, rng):
    """Start a run, kill it and its processes some time after it has written more, and give what it had written."""
    before = sum(path.stat().st_size for path in journal.glob("records-*"))
    with subprocess.Popen(
        command, env=environment(ACCELERATE_USE_CPU="true"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 400
        while sum(path.stat().st_size for path in journal.glob("records-*")) <= before:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.02))
        # The launcher puts its processes into sessions of their own, so the group is not enough.
        launcher = psutil.Process(process.pid)
        for member in (launcher, *launcher.children(recursive=True)):
            member.kill()
    return sum(path.read_bytes().count(b'"portion"') for path in journal.glob("records-*"))


SLOW = """
import runpy, sys, time
from hf_vidmodels.commands.labelling.labelling_network import Labeler
label = Labeler.label
Labeler.label = lambda self, portion: (time.sleep(0.15), label(self, portion))[1]
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_killed_runs_of_any_number_of_processes_end_in_the_same_bytes(whole, model, corpus, tmp_path):
    """Portions are slowed down, so that the kills fall between them; a torn line is added as a kill may leave one."""
    (tmp_path / "slow.py").write_text(SLOW)
    output = tmp_path / "out" / "masks.json"
    journal = tmp_path / "out" / "masks.json.journal"
    words = ["--model", model, "--annotations", corpus[0], "--images", corpus[1], "--output", output]
    command = [str(tmp_path / "slow.py"), str(SCRIPTS / "label_masks.py"), *map(str, words)]
    rng = random.Random(0)
    first = killed([sys.executable, *command, "--batch_size", "1"], journal, rng)
    second = killed([*TWO_PROCESSES, *command, "--batch_size", "1"], journal, rng)
    assert 0 < first < second
    done = label(model, *corpus, output)
    assert done.status == 2 and "begun with another batch_size (1, now 8)" in done.stderr
    undisturbed = tmp_path / "undisturbed.json"
    assert label(model, *corpus, undisturbed, "--batch_size", 1).status == 0
    with (journal / "records-0001-0000.jsonl").open("ab") as file:
        file.write(b'{"row":3,"segmentation":{"size":[96,96],"cou')
    done = label(model, *corpus, output, "--batch_size", 1)
    assert done.status == 0, done.stderr
    for suffix in (".json", ".report.json", ".overlays.jpg"):
        disturbed = output.with_name(f"{output.stem}{suffix}")
        assert disturbed.read_bytes() == undisturbed.with_name(f"{undisturbed.stem}{suffix}").read_bytes()
    assert not journal.exists()


def test_dropped_boxes_are_counted_listed_and_kept_as_asked(model, own_corpus, tmp_path):
    pictures = tmp_path / "pictures"
    done = label(model, own_corpus(), pictures, tmp_path / "a.json")
    assert done.status == 0 and "too_small" in done.stdout and "at most 2 pixels long: 30" in done.stdout
    found = json.loads((tmp_path / "a.json").read_text())
    assert [item["id"] for item in found["annotations"]] == [10, 20, 40]
    assert found["info"] == {"x": 1} and found["annotations"][0]["note"] == [1]
    report = json.loads((tmp_path / "a.report.json").read_text())
    assert report["too_small"] == 1 and report["dropped_ids"]["too_small"] == [30] and report["labelled"] == 3

    assert label(model, own_corpus(), pictures, tmp_path / "b.json", "--dropped", "ignore").status == 0
    ignored = json.loads((tmp_path / "b.json").read_text())["annotations"][2]
    assert ignored["id"] == 30 and ignored["ignore"] == ignored["iscrowd"] == 1
    assert ignored["segmentation"] == [[10, 10, 12, 10, 12, 40, 10, 40]] and ignored["area"] == 60

    done = label(model, own_corpus(), pictures, tmp_path / "c.json", "--dropped", "box", "--threshold", "0.999999")
    assert done.status == 0 and "empty_mask" in done.stdout
    boxes = json.loads((tmp_path / "c.json").read_text())["annotations"]
    assert [item["id"] for item in boxes] == [10, 20, 30, 40] and "ignore" not in boxes[0]
    assert boxes[3]["segmentation"] == [[50.5, 20.25, 80.5, 20.25, 80.5, 60.25, 50.5, 60.25]]
    coco = COCO(str(tmp_path / "c.json"))
    assert coco.annToMask(coco.anns[40]).sum() == 1200


def test_options_change_masks_and_areas(model, own_corpus, tmp_path):
    masks = {}
    for name, options in {
        "plain": (),
        "flip": ("--flip",),
        "student": ("--network", "student"),
        "mixed": ("--network", "mixed"),
        "scales": ("--scales", 1, 1.5),
        "threshold": ("--threshold", 0.2, 0.5, 0.5),
        "bfloat16": ("--dtype", "bfloat16"),
        "box": ("--area", "box"),
    }.items():
        done = label(model, own_corpus(), tmp_path / "pictures", tmp_path / f"{name}.json", *options)
        assert done.status == 0, done.stderr
        masks[name] = json.loads((tmp_path / f"{name}.json").read_text())["annotations"]
    scores = {name: [item["score"] for item in found] for name, found in masks.items()}
    assert len({str(of_one) for name, of_one in scores.items() if name != "box"}) == 7
    assert [item["area"] for item in masks["box"]] == [1200, 6300, 1200]
    assert [item["segmentation"] for item in masks["box"]] == [item["segmentation"] for item in masks["plain"]]


def test_boxes_of_a_detector_take_the_place_of_the_annotations(model, own_corpus, tmp_path):
    detections = [
        {"image_id": 2, "category_id": 1, "bbox": [0, 0, 80, 60], "score": 0.75},
        {"image_id": 1, "category_id": 1, "bbox": [5, 6, 1, 30], "score": 0.5},
        {"image_id": 1, "category_id": 1, "bbox": [5, 6, 40, 30], "score": 0.25},
    ]
    file = write_json_file(tmp_path / "found.json", detections)
    done = label(
        model,
        own_corpus(),
        tmp_path / "pictures",
        tmp_path / "out.json",
        *("--score_boxes", file),
    )
    assert done.status == 0, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())["annotations"]
    assert [(item["id"], item["image_id"], item["score"]) for item in found] == [(1, 2, 0.75), (3, 1, 0.25)]
    assert all(0 < item["mask_score"] <= 1 and item["segmentation"]["size"] == [70, 90] for item in found)
    results = json.loads((tmp_path / "out.results.json").read_text())
    assert results == found
    COCO(str(tmp_path / "in.json")).loadRes(str(tmp_path / "out.results.json"))


def test_frames_of_videos_are_labelled_one_by_one(model, tmp_path):
    write_pictures(tmp_path / "frames", "v/0.png", "v/1.png", "w/0.png", size=(90, 70))
    names = {"v": ["v/0.png", "v/1.png"], "w": ["w/0.png"]}
    videos = [{"id": id, "file_names": names[id], "height": 70, "width": 90} for id in "vw"]
    boxes = {8: ("v", [None, [5, 6, 40, 30]]), 4: ("v", [[0, 0, 90, 70], [9, 9, 2, 9]]), 6: ("w", [[9, 9, 50, 50]])}
    content = {
        "videos": videos,
        "annotations": [
            {"id": id, "video_id": video, "category_id": 1, "bboxes": of_frames, "own": id}
            for id, (video, of_frames) in boxes.items()
        ],
        "categories": [{"id": 1, "name": "x"}],
    }
    file = write_json_file(tmp_path / "in.json", content)
    done = label(model, file, tmp_path / "frames", tmp_path / "out.json")
    assert done.status == 0 and "too_small" in done.stdout, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["videos"] == videos
    has_mask = [[rle is not None for rle in item["segmentations"]] for item in found["annotations"]]
    assert has_mask == [[False, True], [True, False], [True]]
    for old, new in zip(content["annotations"], found["annotations"], strict=True):
        assert old.items() <= new.items()
        for rle, area, score in zip(new["segmentations"], new["areas"], new["scores"], strict=True):
            assert (rle is None) == (area is None) == (score is None)
            assert rle is None or decode_rles([rle]).sum() == area
    assert json.loads((tmp_path / "out.report.json").read_text())["dropped_ids"]["too_small"] == [4]
    detections = write_json_file(tmp_path / "found.json", [])
    for options, message in [
        (("--dropped", "box"), "--dropped box is for pictures"),
        (("--evaluate",), "--evaluate scores masks of pictures"),
        (("--score_boxes", detections), "cannot take the place of those of videos"),
    ]:
        done = label(model, file, tmp_path / "frames", tmp_path / "b.json", *options)
        assert done.status == 2 and message in done.stderr


def test_true_masks_in_the_annotation_file_score_the_masks(model, corpus, tmp_path):
    done = label(model, *corpus, tmp_path / "masks.json", "--evaluate")
    metrics = json.loads((tmp_path / "masks.report.json").read_text())["metrics"]
    assert done.status == 0 and 0 < metrics["mIoU"] < 1 and 0 <= metrics["AP"] <= metrics["AP50"] < 1
    assert f"{metrics['mIoU']:.4f}" in done.stdout
    again = label(model, *corpus, tmp_path / "masks.json", "--evaluate")
    assert "is there already" in again.stdout and f"{metrics['mIoU']:.4f}" in again.stdout
    annotations = json.loads(corpus[0].read_text())
    found = [
        {**{key: item[key] for key in ("image_id", "category_id", "bbox")}, "score": 1 / number}
        for number, item in enumerate(annotations["annotations"], 1)
    ]
    detections = write_json_file(tmp_path / "found.json", found)
    done = label(model, *corpus, tmp_path / "b.json", "--score_boxes", detections, "--evaluate")
    by_kind = json.loads((tmp_path / "b.report.json").read_text())["metrics"]
    assert by_kind["bbox"]["AP"] == pytest.approx(1) and by_kind["segm"]["AP"] < 1
    del annotations["annotations"][3]["segmentation"]
    file = write_json_file(tmp_path / "boxes.json", annotations)
    done = label(model, file, corpus[1], tmp_path / "c.json", "--evaluate")
    id = annotations["annotations"][3]["id"]
    assert done.status == 2 and f"--evaluate needs true masks, but annotation {id}" in done.stderr
    annotations["annotations"][3]["segmentation"] = [[5, 5, 30, 30]]
    write_json_file(file, annotations)
    done = label(model, file, corpus[1], tmp_path / "c.json", "--evaluate")
    assert done.status == 2 and f"annotation {id} has a polygon of (4,) numbers" in done.stderr
    assert not list(tmp_path.glob("c.*"))


def test_categories_may_share_a_name_where_boxes_get_masks(model, corpus, tmp_path):
    annotations = json.loads(corpus[0].read_text())
    for category in annotations["categories"]:
        category["name"] = "thing"
    file = write_json_file(tmp_path / "boxes.json", annotations)
    assert label(model, file, corpus[1], tmp_path / "masks.json").status == 0
    assert json.loads((tmp_path / "masks.json").read_text())["categories"] == annotations["categories"]


def test_every_given_object_counts_whatever_becomes_of_those_without_a_mask(model, corpus, tmp_path):
    # A threshold at which many masks are empty, and one box whose side gets no mask at all.
    annotations = json.loads(corpus[0].read_text())
    small = annotations["annotations"][0]
    x, y, width, height = small["bbox"]
    small |= {"bbox": [x, y, 2, height], "segmentation": [[x, y, x + 2, y, x + 2, y + height, x, y + height]]}
    file = write_json_file(tmp_path / "in.json", annotations)
    reports, files = {}, {}
    for dropped in ("leave_out", "ignore", "box", "empty"):
        output = tmp_path / f"{dropped}.json"
        options = ("--evaluate", "--dropped", dropped, "--threshold", EMPTYING_THRESHOLD)
        done = label(model, file, corpus[1], output, *options)
        assert done.status == 0 and "as large as their boxes" not in done.stdout, done.stderr
        reports[dropped] = json.loads(output.with_name(f"{dropped}.report.json").read_text())
        files[dropped] = json.loads(output.read_text())["annotations"]
        again = label(model, file, corpus[1], output, *options)
        assert f"{reports[dropped]['metrics']['mIoU']:.4f}" in again.stdout
    report = reports["empty"]
    assert report["too_small"] == 1 and 0 < report["empty_mask"] < report["boxes"] - 1
    assert all(other["metrics"] == report["metrics"] for other in reports.values())

    # The official file: empty masks are in it, boxes of that size are not; its evaluator takes the mean of all in it.
    by_id = {item["id"]: item for item in files["empty"]}
    assert set(by_id) == {item["id"] for item in annotations["annotations"]} - {small["id"]}
    empty = [by_id[id] for id in report["dropped_ids"]["empty_mask"]]
    assert all(decode_rles([item["segmentation"]]).sum() == item["area"] == 0 for item in empty)
    ious = {}
    for item in annotations["annotations"]:
        found = by_id.get(item["id"])
        true = segmentation_rles([item["segmentation"]], [(96, 96)], ["true"])
        iou = 0.0 if found is None else float(coco_mask.iou([found["segmentation"]], true, [0])[0, 0])
        ious.setdefault(item["category_id"], {})[item["id"]] = iou
    literal = np.mean([np.mean(list(of_class.values())) for of_class in ious.values()])
    official = np.mean(
        [np.mean([iou for id, iou in of_class.items() if id != small["id"]] or [np.nan]) for of_class in ious.values()]
    )
    assert report["metrics"]["mIoU"] == pytest.approx(literal, abs=1e-5)
    assert report["metrics"]["mIoU_official_sizes"] == pytest.approx(official, abs=1e-5)
    scores = [{**item, "score": 1.0} for item in files["empty"]]
    assert report["metrics"]["AP"] == pytest.approx(coco_average_precision(scores, annotations)["AP"])


def test_masks_as_large_as_their_boxes_are_warned_about(model, corpus, tmp_path):
    done = label(model, *corpus, tmp_path / "full.json", "--threshold", 0.0, "--clip_to_box")
    assert done.status == 0 and "masks are as large as their boxes; unless the objects are" in done.stdout


@pytest.mark.parametrize(
    ("changes", "members", "message"),
    [
        ({"bbox": [100, 5, 20, 20]}, {}, "annotation 10 lies outside its picture of 90 x 70"),
        ({"bbox": [5, 5, 0, 20]}, {}, "annotation 10 has no positive width and height"),
        ({"bbox": [5, 5, 20, -3]}, {}, "annotation 10 has no positive width and height"),
        ({"bbox": [5, float("nan"), 20, 20]}, {}, "annotation 10 has numbers in it that are NaN or infinite"),
        ({"bbox": [40, 30, 80, 65]}, {}, "annotation 10 reaches beyond its picture of 90 x 70 but would fit as two"),
        ({"id": 20}, {}, "two annotations with the id 20"),
        ({"image_id": 7}, {}, "annotation 10 has the image_id 7, but there is no such picture"),
        ({}, {"categories": None}, "has no 'categories'"),
        ({}, {"annotations": None}, "has no 'annotations'"),
        ({}, {"images": None}, "has no 'images'"),
        ({}, {"annotations": []}, "has no box to label: there are no boxes"),
        (
            {},
            {"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 9]}]},
            "has no box to label: of 1 boxes, 1 because a side of the box is at most 2 pixels long were dropped",
        ),
    ],
)
def test_input_that_cannot_be_right_is_one_sentence(model, own_corpus, tmp_path, changes, members, message):
    done = label(model, own_corpus(changes, **members), tmp_path / "pictures", tmp_path / "out.json")
    assert done.status == 2 and done.stderr.count("error: ") == 1 and message in done.stderr
    assert not (tmp_path / "out.json").exists()


def test_boxes_that_cannot_be_right_can_be_dropped(model, own_corpus, tmp_path):
    file = own_corpus({"bbox": [5, float("nan"), 20, 20]})
    done = label(model, file, tmp_path / "pictures", tmp_path / "out.json", "--skip_invalid", "--dropped", "box")
    assert done.status == 0 and "not_finite" in done.stdout
    assert [item["id"] for item in json.loads((tmp_path / "out.json").read_text())["annotations"]] == [20, 30, 40]


def test_pictures_that_are_missing_damaged_or_of_another_size_are_named(model, own_corpus, tmp_path):
    file, pictures, output = own_corpus(), tmp_path / "pictures", tmp_path / "out.json"
    (pictures / "a.png").rename(pictures / "c.png")
    done = label(model, file, pictures, output)
    assert done.status == 2 and "the picture of annotation 10, 30 is missing" in done.stderr
    (pictures / "a.png").write_bytes(b"no picture")
    done = label(model, file, pictures, output)
    assert done.status == 2 and "first that of annotation 10" in done.stderr and "cannot be read" in done.stderr
    assert not output.exists() and (tmp_path / "out.json.journal").is_dir()
    skipped = label(model, file, pictures, tmp_path / "skipped.json", "--skip_unreadable")
    assert skipped.status == 0 and "unreadable" in skipped.stdout
    found = json.loads((tmp_path / "skipped.json").read_text())["annotations"]
    assert [item["id"] for item in found] == [20, 40]
    write_pictures(pictures, "a.png", size=(70, 90))
    done = label(model, file, pictures, output)
    assert done.status == 2 and "90 x 70 pixels (height x width), but the annotation file says 70 x 90" in done.stderr
    (pictures / "c.png").replace(pictures / "a.png")
    assert label(model, file, pictures, output).status == 0
    assert len(json.loads(output.read_text())["annotations"]) == 3


def test_options_and_outputs_that_make_no_sense_are_refused(model, own_corpus, tmp_path):
    file, pictures = own_corpus(), tmp_path / "pictures"
    for output, options, message in [
        ("out.json", ("--batch_size", 0), "--batch_size must be at least 1, got 0"),
        ("out.json", ("--threshold", 1.5), "--threshold must be probabilities"),
        ("out", (), "--output must end in .json"),
        ("in.json", (), "which it could overwrite"),
        ("other.json", (), "is there already, but not from a run of this script"),
        ("out.json", ("--score_boxes", tmp_path / "nothing.json"), "there is no file"),
        ("out.json", ("--scales", -1), "--scales must be positive factors of the crop size, got [-1.0]"),
        ("out.json", ("--scales", 1, "nan"), "--scales must be positive factors of the crop size, got [1.0, nan]"),
        ("out.json", ("--dtype", "bfloat16", "--threads", 0), "--threads must be at least 1, got 0"),
    ]:
        (tmp_path / "other.json").write_text("{}")
        done = label(model, file, pictures, tmp_path / output, *options)
        assert done.status == 2 and message in done.stderr, (message, done.stderr)


def test_a_run_that_another_holds_waits_and_then_says_so(model, own_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(labelling_journal, "SECONDS_TO_WAIT_FOR_OTHERS", 0.05)
    with labelling_journal.only_run_on(tmp_path / "out.json.journal"):
        done = label(model, own_corpus(), tmp_path / "pictures", tmp_path / "out.json")
    assert done.status == 2 and "another run is labelling into" in done.stderr
    assert label(model, own_corpus(), tmp_path / "pictures", tmp_path / "out.json").status == 0


def test_a_restart_throws_away_what_there_is(model, own_corpus, tmp_path):
    file, pictures, output = own_corpus(), tmp_path / "pictures", tmp_path / "out.json"
    assert label(model, file, pictures, output).status == 0
    before = json.loads(output.read_text())
    assert label(model, file, pictures, output, "--threshold", 0.6, "--restart").status == 0
    assert json.loads(output.read_text()) != before


def test_the_output_is_a_corpus_again(whole, corpus, tmp_path):
    found = load_corpus(whole[0], data_dir=corpus[1])
    ((_, dataset),) = found.items()
    assert dataset.num_rows == 24 and decode_rles([dataset[0]["objects"][0]["segmentation"]]).any()
