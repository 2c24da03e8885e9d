import pytest

from hf_vidmodels.text_files import parse_json, read_json, read_lines, read_text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_is_read_in_every_encoding_that_names_itself(tmp_path, encoding):
    (tmp_path / "list.txt").write_text("gölf\n\n  jump \n", encoding=encoding)
    assert read_lines(tmp_path / "list.txt") == [(1, "gölf"), (3, "jump")]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "shift-jis"])
def test_text_of_another_encoding_names_the_file_and_the_way_out(tmp_path, encoding):
    (tmp_path / "list.txt").write_bytes("gölf ｡".encode(encoding, errors="ignore"))
    with pytest.raises(ValueError, match=r"list\.txt is not UTF-8 text .*; save it as UTF-8$"):
        read_text(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[" * 100_000, r"a\.json is not valid JSON \(it is nested too deeply\)"),
        ('{"a": 1} x', r"a\.json is not valid JSON \(Extra data"),
        ("9" * 10_000, r"a\.json is not valid JSON \(.*limit"),
        ("[{}, {'a': 1}]", r"a\.json is not valid JSON"),
        ('[{"a": 1, "b": 2, "a": 3}]', r"a\.json has these entries more than once: a; merge or remove them"),
    ],
)
def test_json_that_cannot_be_meant_is_one_sentence(tmp_path, text, complaint):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=complaint):
        read_json(tmp_path / "a.json")


def test_the_place_of_json_within_a_file_is_told():
    assert parse_json(' {"a": [1, null]} ', "x, line 3") == {"a": [1, None]}
    with pytest.raises(ValueError, match="^x, line 3 is not valid JSON"):
        parse_json("{", "x, line 3")
