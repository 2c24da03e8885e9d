from hf_vidmodels.commands.input_files import find_pictures
from mask_examples import write_pictures


def test_pictures_of_a_kind_that_is_not_read_are_counted(tmp_path, capsys):
    write_pictures(tmp_path, "a.png", "deep/b.jpg")
    assert sorted(find_pictures(tmp_path)) == ["a.png", "deep/b.jpg"]
    assert capsys.readouterr().out == ""
    for name in ("c.gif", "d.GIF", "deep/e.avif", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert sorted(find_pictures(tmp_path)) == ["a.png", "deep/b.jpg"]
    assert capsys.readouterr().out == "passing over pictures of kinds that are not read: 1 .avif, 2 .gif\n"
