import pytest

from hf_vidmodels.output_files import output_file, refuse_inputs_as_outputs


@pytest.mark.parametrize("name", ["train", "video_test_0000270", "-x7 (2)", "Kanäle: 3", "a.b", "console"])
def test_a_plain_name_is_a_file_in_the_folder(tmp_path, name):
    assert output_file(tmp_path, name, ".png") == tmp_path / f"{name}.png"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../X", "separator"),
        ("/etc/passwd", "separator"),
        ("..\\..\\X", "separator"),
        ("a/b", "separator"),
        ("", "empty"),
        (" a", "spaces"),
        ("a\nb", "control characters"),
        ("a\x00b", "control characters"),
        ("\x1b[31mred", "control characters"),
        ("\u202egnp.exe", "control characters"),
        ("CON", "reserved name"),
        ("nul.tar", "reserved name"),
        ("ä" * 130, "longer than 255 bytes"),
    ],
)
def test_a_name_that_leaves_the_folder_or_is_no_name_is_refused(tmp_path, name, reason):
    with pytest.raises(ValueError, match=f"cannot name a file in .*{reason}.*; rename it"):
        output_file(tmp_path, name, ".png")


@pytest.mark.parametrize("name", ["..", ".", "a/../../b", "/a", "a//b", "a/\n/b"])
def test_a_path_of_names_stays_below_the_folder(tmp_path, name):
    assert output_file(tmp_path, "a/b", nested=True) == tmp_path / "a" / "b"
    with pytest.raises(ValueError, match="cannot name a file"):
        output_file(tmp_path, name, nested=True)


def test_links_in_the_folder_are_not_followed_but_the_folder_may_be_one(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").symlink_to(elsewhere)
    (tmp_path / "out" / "b.png").symlink_to(elsewhere / "not there")
    for name in ("a/x.png", "b.png"):
        with pytest.raises(ValueError, match="is a symbolic link, which is not followed"):
            output_file(tmp_path / "out", name, nested=True)
    (tmp_path / "link").symlink_to(elsewhere)
    assert output_file(tmp_path / "link", "x") == tmp_path / "link" / "x"


def test_an_output_is_no_input_whatever_path_names_it(tmp_path, monkeypatch):
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    clip = inputs / "clip.mp4"
    clip.touch()
    (tmp_path / "link").symlink_to(inputs)
    monkeypatch.chdir(tmp_path)
    for output in (inputs, "inputs", "./inputs/../inputs/", "link", tmp_path / "link"):
        for given in (inputs, clip):
            with pytest.raises(ValueError, match="which it could overwrite; choose another"):
                refuse_inputs_as_outputs([output], [None, "org/model", given])
    refuse_inputs_as_outputs([inputs / "out", tmp_path / "other"], [inputs, clip, None, "org/model"])
