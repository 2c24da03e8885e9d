"""Lists of videos in the layouts of their publishers; the files are made here and hold no pictures."""

import json

import pytest

from hf_vidmodels.data.corpora import load_corpus


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def rows_of(dataset, root):
    return [(row["video"]["path"].removeprefix(f"{root}/"), row["label"]) for row in dataset]


@pytest.fixture
def kinetics(tmp_path):
    write(tmp_path / "train.csv", "train/b 1.mp4,0", "train/a.mp4,399", "")
    write(tmp_path / "val.csv", "val/c.mp4,12")
    touch(tmp_path / "train/b 1.mp4", tmp_path / "train/a.mp4", tmp_path / "val/c.mp4")
    return tmp_path


@pytest.fixture
def something(tmp_path):
    labels = {"Dropping something": "1", "Pushing something onto something": "0", "Tearing something": "2"}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    train = [
        {"id": "78687", "label": "pushing a cup onto a table", "template": "Pushing [something] onto [something]"},
        {"id": 42326, "label": "dropping a pen", "template": "Dropping [something]", "placeholders": ["a pen"]},
    ]
    (tmp_path / "train.json").write_text(json.dumps(train))
    (tmp_path / "validation.json").write_text(json.dumps([{"id": "5", "template": "Tearing something"}]))
    (tmp_path / "test.json").write_text(json.dumps([{"id": "9"}]))
    touch(*(tmp_path / "20bn-something-something-v2" / f"{name}.webm" for name in ("78687", "42326", "9")))
    touch(tmp_path / "20bn-something-something-v2" / "5.mp4")
    return tmp_path


def test_lists_with_commas_are_kinetics(kinetics):
    corpus = load_corpus("kinetics400", data_dir=kinetics)
    assert list(corpus) == ["train", "validation"]
    assert rows_of(corpus["train"], kinetics) == [("train/b 1.mp4", 0), ("train/a.mp4", 399)]
    assert rows_of(corpus["validation"], kinetics) == [("val/c.mp4", 12)]
    names = corpus["train"].features["label"].names
    assert len(names) == 400 and names[12] == "12"


def test_classes_have_names_where_a_file_says_them(kinetics):
    write(kinetics / "classes.txt", *(f"action {number}" for number in range(400)))
    assert load_corpus("kinetics400", data_dir=kinetics)["train"].features["label"].names[399] == "action 399"


def test_the_same_videos_may_be_validated_and_tested(kinetics):
    write(kinetics / "test.csv", "val/c.mp4,12")
    assert load_corpus("kinetics400", data_dir=kinetics, split="test").num_rows == 1


@pytest.mark.parametrize("folder", ["", "videos", "videos_train", "train"])
def test_lists_with_blanks_are_mmactions_and_their_folder_is_found(tmp_path, folder):
    write(tmp_path / "hmdb_train_list_videos.txt", "path label", "jump/gone.avi 1", "jump/a.avi 1", "run/b.avi 0")
    touch(tmp_path / folder / "jump/a.avi", tmp_path / folder / "run/b.avi")
    with pytest.warns(
        UserWarning, match=r"1 of 3 videos of split 'train' are missing .*\(jump/gone.avi\); they are left"
    ):
        corpus = load_corpus("video_lists", data_dir=tmp_path, skip_missing_files=True)
    assert rows_of(corpus["train"], tmp_path / folder) == [("jump/a.avi", 1), ("run/b.avi", 0)]
    assert corpus["train"].features["label"].names == ["0", "1"]


def test_lists_may_come_from_windows(tmp_path):
    write(tmp_path / "train_list.txt", "jump\\a.avi 1", "run\\b.avi 0")
    touch(tmp_path / "videos/jump/a.avi", tmp_path / "videos/run/b.avi")
    corpus = load_corpus("video_lists", data_dir=tmp_path)
    assert rows_of(corpus["train"], tmp_path / "videos") == [("jump/a.avi", 1), ("run/b.avi", 0)]


def test_the_folder_of_the_videos_can_be_said(kinetics, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    touch(*(elsewhere / name for name in ("train/b 1.mp4", "train/a.mp4", "val/c.mp4")))
    corpus = load_corpus("kinetics400", data_dir=kinetics, media_dir=elsewhere)
    assert corpus["validation"][0]["video"]["path"] == str(elsewhere / "val/c.mp4")


def test_paths_may_be_absolute_and_videos_folders_of_frames(tmp_path):
    touch(tmp_path / "far/away/1.mp4", tmp_path / "frames/0001.jpg")
    write(tmp_path / "lists/train.csv", f"{tmp_path}/far/away/1.mp4,0", f"{tmp_path}/frames,1")
    corpus = load_corpus("video_lists", data_dir=tmp_path / "lists")
    assert corpus["train"][1]["video"]["path"] == str(tmp_path / "frames")


def test_missing_videos_are_named_in_one_sentence_for_all_splits(kinetics):
    (kinetics / "train/a.mp4").unlink()
    (kinetics / "val/c.mp4").unlink()
    with pytest.raises(FileNotFoundError) as error:
        load_corpus("kinetics400", data_dir=kinetics)
    sentence = str(error.value)
    assert "1 of 2 videos of split 'train' are missing" in sentence and "(train/a.mp4)" in sentence
    assert "1 of 1 videos of split 'validation' are missing" in sentence and "(val/c.mp4)" in sentence
    assert "skip_missing_files" in sentence and "\n" not in sentence
    (kinetics / "val/c.mp4").touch()
    with pytest.warns(UserWarning, match=r"kinetics400: 1 of 2 videos .*; they are left out"):
        assert load_corpus("kinetics400", data_dir=kinetics, skip_missing_files=True)["train"].num_rows == 1


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('"b, c.mp4",1', "b, c.mp4"),
        ('"b c.mp4" 1', "b c.mp4"),
        ('"b c.mp4","1"', "b c.mp4"),
        ('"a ""b"".mp4",1', 'a "b".mp4'),
        ("b c 3.mp4 1", "b c 3.mp4"),
        ("b, c.mp4,1", "b, c.mp4"),
        ("take 7,1", "take 7"),
    ],
)
def test_paths_may_stand_in_quotes_and_hold_what_separates(tmp_path, line, name):
    touch(tmp_path / "a.mp4", tmp_path / name)
    write(tmp_path / "train.csv", "a.mp4,0", line)
    assert rows_of(load_corpus("video_lists", data_dir=tmp_path)["train"], tmp_path) == [("a.mp4", 0), (name, 1)]


def test_lists_of_folders_may_tell_the_number_of_their_frames(tmp_path):
    touch(tmp_path / "jump/v1/img_1.jpg", tmp_path / "75/img_1.jpg")
    write(tmp_path / "ucf_train_list_rawframes.txt", "jump/v1 75 0", "75 30 1")
    assert rows_of(load_corpus("video_lists", data_dir=tmp_path)["train"], tmp_path) == [("jump/v1", 0), ("75", 1)]


def test_class_ids_that_no_list_uses_are_told(tmp_path):
    touch(tmp_path / "a.mp4", tmp_path / "b.mp4")
    write(tmp_path / "train.csv", "a.mp4,1", "b.mp4,3")
    with pytest.warns(UserWarning, match=r"2 of 4 class ids occur in no list \(0, 2\); name the classes in classes"):
        load_corpus("video_lists", data_dir=tmp_path)
    write(tmp_path / "train.csv", "a.mp4,1", "b.mp4,999999999")
    with pytest.raises(ValueError, match=r"train\.csv, line 2: the class id 999999999 is beyond 100000"):
        load_corpus("video_lists", data_dir=tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_are_read_in_the_encodings_that_name_themselves(tmp_path, encoding):
    touch(tmp_path / "größe.mp4")
    (tmp_path / "train.csv").write_text("größe.mp4,0\n", encoding=encoding)
    assert load_corpus("video_lists", data_dir=tmp_path)["train"].num_rows == 1
    (tmp_path / "train.csv").write_text("größe.mp4,0\n", encoding="cp1252")
    with pytest.raises(ValueError, match=r"train\.csv is not UTF-8 text .*save it as UTF-8"):
        load_corpus("video_lists", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["train/a.mp4,3,5"], r"line 1: 2 numbers after 'train/a\.mp4' where one class id may stand; .* like 0;3"),
        (["frames 0 75 1"], "line 1: 3 numbers after 'frames' where the frames of a folder and its class may stand"),
        (['"train/a.mp4" golf 1'], "line 1: expected a path and a class id"),
        ([f"train/a.mp4,{'9' * 5000}"], "line 1: expected a path and a class id"),
        (["train/a.mp4" + " " * 100_000 + "x"], "line 1: expected a path and a class id"),
        (["train/a.mp4"], r"train.csv, line 1: expected a path and a class id \(path,label\), got 'train/a.mp4'"),
        (["label,youtube_id,time_start,time_end,split"], "line 1: expected a path and a class id"),
        (["train/a.mp4,0", "train/a.mp4,golf"], "line 2: expected a path and a class id"),
        (["train/a.mp4,400"], "line 1: class 400 of train/a.mp4, but the 400 classes have the ids 0 to 399"),
        ([], "split 'train' is empty"),
    ],
)
def test_lines_that_do_not_fit_are_named(kinetics, lines, sentence):
    write(kinetics / "train.csv", *lines)
    with pytest.raises(ValueError, match=sentence):
        load_corpus("kinetics400", data_dir=kinetics)


def test_something_something_has_the_order_of_its_numbers_and_templates_without_brackets(something):
    corpus = load_corpus("something_something_v2", data_dir=something)
    names = corpus["train"].features["label"].names
    assert names == ["Pushing something onto something", "Dropping something", "Tearing something"]
    videos = something / "20bn-something-something-v2"
    assert rows_of(corpus["train"], videos) == [("78687.webm", 0), ("42326.webm", 1)]
    assert rows_of(corpus["validation"], videos) == [("5.mp4", 2)]
    assert rows_of(corpus["test"], videos) == [("9.webm", None)]


def test_something_something_is_found_as_it_is_downloaded(something, tmp_path):
    lists = something / "labels"
    lists.mkdir()
    for name in ("labels", "train", "validation", "test"):
        (something / f"{name}.json").rename(lists / f"something-something-v2-{name}.json")
    videos = something / "20bn-something-something-v2"
    assert load_corpus("something_something_v2", data_dir=something)["train"].num_rows == 2
    moved = videos.rename(tmp_path / "elsewhere")
    corpus = load_corpus("something_something_v2", data_dir=something, media_dir=moved)
    assert corpus["test"][0]["video"]["path"] == str(moved / "9.webm")


def test_missing_videos_of_something_something_are_named_by_their_id(something):
    (something / "20bn-something-something-v2/42326.webm").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 of 2 videos of split 'train' are missing in .*-v2 \(42326\); give"
    ):
        load_corpus("something_something_v2", data_dir=something)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("train", [{"id": "1", "template": "Droping [something]"}],
         r"entry 1: the template 'Droping something' of video 1 is none .*did you mean 'Dropping something'"),
        ("train", [{"template": "Dropping [something]"}], "entry 1: expected an object with 'id' and 'template'"),
        ("train", {"id": "1"}, "must hold a list of videos, got dict"),
        ("labels", {"Dropping something": "1"}, "must number its 1 templates from 0 to 0"),
        ("labels", ["Dropping something"], "must hold a JSON object, got list"),
    ],
)  # fmt: skip
def test_files_of_something_something_that_do_not_fit_are_named(something, name, content, sentence):
    (something / f"{name}.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=sentence):
        load_corpus("something_something_v2", data_dir=something)


def test_unlabelled_videos_are_refused_in_training_only(something):
    (something / "train.json").write_text(json.dumps([{"id": "9"}]))
    with pytest.raises(ValueError, match="split 'train': 1 rows have an unknown class in 'label': null"):
        load_corpus("something_something_v2", data_dir=something)


@pytest.mark.parametrize("name", ["kinetics400", "something_something_v2"])
def test_folders_that_are_not_there_or_empty_are_one_sentence(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} is read from a folder; give its data_dir"):
        load_corpus(name)
    with pytest.raises(FileNotFoundError, match=f"there is no folder .*nowhere with {name}"):
        load_corpus(name, data_dir=tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} has no (train.csv, val.csv or test.csv|labels.json)"):
        load_corpus(name, data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match=f"there is no folder .*nowhere with the videos of {name}"):
        load_corpus(name, data_dir=tmp_path, media_dir=tmp_path / "nowhere")


def test_several_lists_of_a_split_are_not_mixed(tmp_path):
    write(tmp_path / "a_train_list_videos.txt", "a.mp4 0")
    write(tmp_path / "b_train_list_videos.txt", "a.mp4 0")
    with pytest.raises(ValueError, match="several lists of the same split"):
        load_corpus("video_lists", data_dir=tmp_path)


def test_options_of_lists_are_refused_for_other_corpora(tmp_path):
    with pytest.raises(ValueError, match=r"are for published lists of videos \(kinetics400.* not for embedded/clips"):
        load_corpus("embedded/clips", skip_missing_files=True)


@pytest.fixture
def pictures(tmp_path):
    """Something-Something v1: folders of pictures and lists id;template."""
    prefix = "something-something-v1"
    write(tmp_path / f"{prefix}-labels.csv", "Tearing something", "Pushing something from left to right")
    write(tmp_path / f"{prefix}-train.csv", "8917;Pushing something from left to right", "31;Tearing something")
    write(tmp_path / f"{prefix}-validation.csv", "7;Tearing [something]")
    write(tmp_path / f"{prefix}-test.csv", "5")
    folder = tmp_path / "20bn-something-something-v1"
    touch(*(folder / name / "00001.jpg" for name in ("8917", "31", "7", "5")))
    return tmp_path


def test_the_first_something_something_is_folders_of_pictures(pictures):
    corpus = load_corpus("something_something_v1", data_dir=pictures)
    assert corpus["train"].features["label"].names == ["Tearing something", "Pushing something from left to right"]
    folder = pictures / "20bn-something-something-v1"
    assert rows_of(corpus["train"], folder) == [("8917", 1), ("31", 0)]
    assert rows_of(corpus["validation"], folder) == [("7", 0)]
    assert rows_of(corpus["test"], folder) == [("5", None)]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("8917;Tearing somethin", "line 1: the template 'Tearing somethin' of video 8917 is none of the 2 classes"),
        ("8917;Tearing something;2", "line 1: expected id;template, got '8917;Tearing something;2'"),
        (";Tearing something", "line 1: expected id;template"),
    ],
)
def test_lines_that_are_no_entry_of_the_first_something_something_are_named(pictures, line, sentence):
    write(pictures / "something-something-v1-train.csv", line)
    with pytest.raises(ValueError, match=sentence):
        load_corpus("something_something_v1", data_dir=pictures)


def test_lists_and_folders_that_the_first_something_something_lacks_are_named(pictures):
    write(pictures / "something-something-v1-train.csv", "99;Tearing something")
    with pytest.raises(FileNotFoundError, match=r"1 of 1 videos of split 'train' are missing in .*\(99\)"):
        load_corpus("something_something_v1", data_dir=pictures)
    write(pictures / "something-something-v1-labels.csv", "Tearing something", "Tearing [something]")
    with pytest.raises(ValueError, match="names the class 'Tearing something' twice"):
        load_corpus("something_something_v1", data_dir=pictures)
    (pictures / "something-something-v1-labels.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no labels.csv \(or something-something-v1-labels.csv\)"):
        load_corpus("something_something_v1", data_dir=pictures)


@pytest.fixture
def charades(tmp_path):
    write(tmp_path / "Charades_v1_classes.txt", "c000 Holding some clothes", "c001 Putting clothes somewhere")
    header = "id,subject,script,actions,length"
    write(
        tmp_path / "Charades_v1_train.csv",
        header,
        'AB12C,X1,"A person, who holds",c001 11.90 21.20;c000 0.00 12.60;c001 1.0 2.0,30.1',
        "NOACT,X2,Nothing happens,,20.0",
    )
    write(tmp_path / "Charades_v1_test.csv", header, "TEST1,X3,Ends,c000 0.00 5.00,12.5")
    touch(tmp_path / "Charades_v1_480" / "AB12C.mp4", tmp_path / "Charades_v1_480" / "TEST1.mp4")
    return tmp_path


def test_videos_of_charades_have_the_classes_of_all_their_actions(charades):
    with pytest.warns(UserWarning, match=r"1 videos have no action \(NOACT\)"):
        corpus = load_corpus("charades", data_dir=charades)
    assert rows_of(corpus["train"], charades) == [("Charades_v1_480/AB12C.mp4", [0, 1])]
    assert rows_of(corpus["test"], charades) == [("Charades_v1_480/TEST1.mp4", [0])]
    assert corpus["train"].features["label"].feature.names == ["Holding some clothes", "Putting clothes somewhere"]


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        (
            "Charades_v1_test.csv",
            "TEST1,X3,Ends,c009 0.00 5.00,12.5",
            "video TEST1: expected actions like .* got 'c009",
        ),
        ("Charades_v1_test.csv", "TEST1,X3,Ends,c000,12.5", "video TEST1: expected actions like 'c092 11.90 21.20'"),
        ("Charades_v1_classes.txt", "c003 Opening a door", "line 3: expected c002 and the name of a class"),
    ],
)
def test_lines_that_are_not_of_charades_are_named(charades, name, line, message):
    with (charades / name).open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ValueError, match=message):
        load_corpus("charades", data_dir=charades)
