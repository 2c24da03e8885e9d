"""ImageNet, lists of iNaturalist and Places, and CIFAR, in tiny folders of the published layouts."""

import numpy as np
import pytest
from PIL import Image

from hf_vidmodels.data.corpora import load_corpus


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name, format="jpeg")


def labels(dataset):
    return {
        row["path"].rpartition("/")[2]: label for row, label in zip(stored(dataset), dataset["label"], strict=True)
    }


def stored(dataset):
    from datasets import Image as ImageFeature

    return list(dataset.cast_column("image", ImageFeature(decode=False))["image"])


@pytest.fixture
def imagenet(tmp_path):
    put(tmp_path / "train", "n01/n01_1.JPEG", "n01/n01_8.JPEG", "n02/n02_1.JPEG")
    return tmp_path


def test_imagenet_has_folders_of_synsets(imagenet):
    put(imagenet / "val", "n01/v1.JPEG", "n02/v2.JPEG")
    corpus = load_corpus("imagenet", data_dir=imagenet)
    assert corpus["train"].features["label"].names == ["n01", "n02"]
    assert labels(corpus["train"]) == {"n01_1.JPEG": 0, "n01_8.JPEG": 0, "n02_1.JPEG": 1}
    assert labels(corpus["validation"]) == {"v1.JPEG": 0, "v2.JPEG": 1}


def test_flat_validation_pictures_have_their_classes_in_the_published_list_which_counts_from_1(imagenet):
    put(imagenet / "val", "v1.JPEG", "v2.JPEG")
    with pytest.raises(FileNotFoundError, match="sort its pictures into them, or put files2labels_valid.txt"):
        load_corpus("imagenet", data_dir=imagenet)
    (imagenet / "files2labels_valid.txt").write_text("v1.JPEG,2\nv2.JPEG,1\n")
    assert labels(load_corpus("imagenet", data_dir=imagenet)["validation"]) == {"v1.JPEG": 1, "v2.JPEG": 0}


@pytest.fixture
def places(tmp_path):
    put(tmp_path / "data", "a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg")
    (tmp_path / "semi_ltrain.txt").write_text("a/1.jpg,0\nb/3.jpg,1\n")
    (tmp_path / "semi_utrain.txt").write_text("a/2.jpg,0\n")
    (tmp_path / "semi_val.txt").write_text("b/4.jpg,1\n")
    return tmp_path


def test_lists_give_labelled_pictures_and_others(places):
    corpus = load_corpus("places205_semi", data_dir=places)
    found = {split: labels(dataset) for split, dataset in corpus.items()}
    assert found == {
        "train": {"1.jpg": 0, "3.jpg": 1},
        "validation": {"4.jpg": 1},
        "unlabelled": {"2.jpg": 0},
    }
    (places / "classes.txt").write_text("abbey\nbeach\n")
    assert load_corpus("places205_semi", data_dir=places)["train"].features["label"].names == ["abbey", "beach"]


def test_lists_of_inaturalist_lie_in_a_folder_of_their_own(places):
    (places / "semi_list").mkdir()
    for ours, theirs in (("ltrain", "train"), ("utrain", "unlabel"), ("val", "val")):
        (places / f"semi_{ours}.txt").rename(places / "semi_list" / f"semi-{theirs}.txt")
    assert len(load_corpus("inaturalist2019_semi", data_dir=places)["unlabelled"]) == 1


@pytest.mark.parametrize(
    ("line", "error", "sentence"),
    [
        ("a/1.jpg", ValueError, r"semi_ltrain.txt, line 3: expected 'relative/path,class', got 'a/1.jpg'"),
        ("a/1.jpg,0", ValueError, "line 3: 'a/1.jpg' was named in line 1 already"),
        ("a/9.jpg,0", FileNotFoundError, r"names 1 pictures that .* lacks: a/9.jpg \(line 3\)"),
        ("a/2.jpg,x", ValueError, "line 3: expected"),
        ("a/2.jpg,900000", ValueError, "line 3: the class id 900000 is beyond"),
    ],
)
def test_lines_that_are_wrong_are_named(places, line, error, sentence):
    with open(places / "semi_ltrain.txt", "a") as file:
        file.write(line + "\n")
    with pytest.raises(error, match=sentence):
        load_corpus("places205_semi", data_dir=places)


def test_classes_that_count_from_1_are_told(places):
    (places / "classes.txt").write_text("abbey\nbeach\n")
    (places / "semi_ltrain.txt").write_text("a/1.jpg,1\nb/3.jpg,2\n")
    with pytest.raises(ValueError, match="counts its classes from 1 to 2, but ids count from 0: subtract 1"):
        load_corpus("places205_semi", data_dir=places)


def write_cifar(path, classes, num_labels, draws):
    path.parent.mkdir(exist_ok=True)
    records = draws.integers(0, 256, (len(classes), num_labels + 3072), dtype=np.uint8)
    records[:, num_labels - 1] = classes
    records.tofile(path)
    return records[:, num_labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


@pytest.mark.parametrize(("name", "num_labels"), [("cifar10", 1), ("cifar100", 2)])
def test_cifar_is_read_from_its_binary_files(tmp_path, monkeypatch, name, num_labels):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    draws = np.random.default_rng(0)
    if name == "cifar10":
        folder = tmp_path / "cifar-10-batches-bin"
        parts = [write_cifar(folder / f"data_batch_{number}.bin", [0, 2], 1, draws) for number in range(1, 6)]
        write_cifar(folder / "test_batch.bin", [1], 1, draws)
        (folder / "batches.meta.txt").write_text("airplane\nautomobile\nbird\n\n")
    else:
        folder = tmp_path / "cifar-100-binary"
        parts = [write_cifar(folder / "train.bin", [0, 2], 2, draws)]
        write_cifar(folder / "test.bin", [1], 2, draws)
        (folder / "fine_label_names.txt").write_text("apple\nbear\ncup\n")
    corpus = load_corpus(name, data_dir=tmp_path)
    assert len(corpus["train"]) == 2 * len(parts) and corpus["train"]["label"][:2] == [0, 2]
    assert np.array_equal(np.asarray(corpus["train"][1]["image"]), parts[0][1])
    assert corpus["test"]["label"] == [1]
    next(folder.glob("test*.bin")).write_bytes(b"short")
    with pytest.raises(ValueError, match="5 bytes, which are no whole pictures"):
        load_corpus(name, data_dir=tmp_path)
    next(folder.glob("test*.bin")).unlink()
    with pytest.raises(FileNotFoundError, match="unpack the binary version"):
        load_corpus(name, data_dir=tmp_path)


def test_a_folder_must_be_given_and_be_there(tmp_path):
    with pytest.raises(ValueError, match="cifar10 is read from a folder; give its data_dir"):
        load_corpus("cifar10")
    with pytest.raises(FileNotFoundError, match="there is no folder .* with imagenet"):
        load_corpus("imagenet", data_dir=tmp_path / "nothing")
