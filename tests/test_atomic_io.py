import pytest

from hf_vidmodels.atomic_io import read_json_object, write_json


def test_a_written_object_is_read_back(tmp_path):
    content = {"name": "Größe", "values": [1, 2.5, None]}
    write_json(tmp_path / "folder" / "object.json", content)
    assert read_json_object(str(tmp_path / "folder" / "object.json"), "an example") == content


@pytest.mark.parametrize(
    ("content", "error", "complaint"),
    [
        (None, FileNotFoundError, "is missing"),
        (b"{", ValueError, "is not valid JSON .*line 1"),
        (b'{"a": "\xff"}', ValueError, "is not UTF-8 text .*0xff.*save it as UTF-8"),
        (b"[]", ValueError, "must hold a JSON object, got list"),
    ],
)
def test_what_is_no_object_is_said_with_what_was_expected(tmp_path, content, error, complaint):
    path = tmp_path / "options.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=rf"options\.json {complaint}.*; it should hold the official options$"):
        read_json_object(path, "the official options")
