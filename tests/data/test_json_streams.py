import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_vidmodels.data import json_streams
from hf_vidmodels.data.json_streams import stream_json_list, stream_json_object

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def streamed(path, lists):
    return {key: list(value) if key in lists else value for key, value in stream_json_object(path, lists)}


@given(
    st.dictionaries(st.text(max_size=4), values, max_size=4),
    st.lists(values, max_size=6),
    st.sampled_from([None, 1, "\t"]),
    st.integers(1, 40),
)
@settings(max_examples=120, deadline=None)
def test_members_are_those_of_the_file_however_it_is_cut_up(tmp_path_factory, members, items, indent, chunk):
    content = {**members, "items": items, "after": 12345678}
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(content, indent=indent), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_streams, "_CHUNK", chunk)
        found = streamed(path, ("items",))
    assert found == content and list(found) == list(content)


def test_items_that_nobody_asks_for_are_passed_over(tmp_path):
    (tmp_path / "a.json").write_text('\ufeff{"items": [{"a": 1}, 2, 3], "after": 4}', encoding="utf-8")
    seen = []
    for key, value in stream_json_object(tmp_path / "a.json", ("items",)):
        seen.append((key, next(value) if key == "items" else value))
    assert seen == [("items", {"a": 1}), ("after", 4)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "character 0: it ends where a JSON object is expected"),
        ("[1, 2]", r"expected a JSON object, got '\['"),
        ('{"items": [1, 2', "it ends where a comma between the items of 'items' is expected"),
        ('{"items": [1 2]}', "expected a comma between the items of 'items', got '2'"),
        ('{"items": [1,]}', "Expecting value"),
        ('{"a": tru}', "Expecting value"),
        ('{"a" 3}', "expected a colon after 'a', got '3'"),
        ("{3: 4}", "expected the name of a member, got 3"),
        ('{"a": 3', "a comma after the member 'a'"),
    ],
)
def test_broken_files_are_named_with_the_place(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"a\.json is not valid JSON at character \d+: .*{message}|{message}"):
        streamed(path, ("items",))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        streamed(tmp_path / "other.json", ())


@pytest.mark.parametrize(("value", "shown"), [("null", "null"), ("3", "3"), (f'"{"x" * 99}"', f'"{"x" * 36}...')])
def test_other_values_than_lists_are_shown_and_no_fault_of_the_json(tmp_path, value, shown):
    path = tmp_path / "a.json"
    path.write_text(f'{{"items": {value}}}')
    with pytest.raises(ValueError) as error:
        streamed(path, ("items",))
    assert str(error.value) == f"{path}: expected a list in 'items', got {shown}"


def test_a_list_may_be_the_whole_file(tmp_path):
    path = tmp_path / "a.json"
    for content in ([], [1, {"a": [2]}, "x"]):
        path.write_text(json.dumps(content))
        assert list(stream_json_list(path)) == content
    path.write_text('{"a": 1}')
    with pytest.raises(ValueError, match=r'a\.json: expected a list in the file, got {"a": 1}'):
        list(stream_json_list(path))
    with pytest.raises(FileNotFoundError, match="there is no file"):
        list(stream_json_list(tmp_path / "other.json"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"items": [1]} {"items": [2]}', "something follows the end"),
        ('{"a": 1, "items": [1], "a": 2}', "has the member 'a' twice"),
        ('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"a": ' + "9" * 10_000 + "}", "limit"),
    ],
)
def test_what_json_readers_disagree_about_is_refused(tmp_path, text, complaint):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.json is not valid JSON at character .*{complaint}"):
        streamed(tmp_path / "a.json", ("items",))


def test_text_after_a_list_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[1, 2] 3")
    with pytest.raises(ValueError, match="something follows the end"):
        list(stream_json_list(tmp_path / "a.json"))


def test_a_stream_is_read_in_the_encoding_that_its_first_bytes_name(tmp_path):
    (tmp_path / "a.json").write_text('{"items": ["grün"]}', encoding="utf-16")
    assert streamed(tmp_path / "a.json", ("items",)) == {"items": ["grün"]}
    (tmp_path / "a.json").write_text('{"items": ["grün"]}', encoding="cp1252")
    with pytest.raises(ValueError, match=r"a\.json is not UTF-8 text .*save it as UTF-8"):
        streamed(tmp_path / "a.json", ("items",))
