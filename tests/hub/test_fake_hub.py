from urllib.request import Request, urlopen

import pytest
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from fake_hub import TOKEN, USER

REPO_ID = "tester/things"


@pytest.fixture
def api(hub, tmp_path):
    """A client with a repository of three files."""
    client = HfApi(endpoint=hub.url, token=TOKEN)
    client.create_repo(REPO_ID)
    for name in ("a.txt", "folder/b.txt", "folder/c.safetensors"):
        (tmp_path / "local" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "local" / name).write_text(f"content of {name}")
    client.upload_folder(repo_id=REPO_ID, folder_path=tmp_path / "local")
    return client


def test_it_knows_who_asks(api):
    assert api.whoami()["name"] == USER


def test_an_existing_repository_is_a_conflict_unless_that_is_fine(api):
    with pytest.raises(HfHubHTTPError):
        api.create_repo(REPO_ID)
    assert api.create_repo(REPO_ID, exist_ok=True).repo_id == REPO_ID


def test_it_lists_files_and_folders(api):
    assert sorted(api.list_repo_files(REPO_ID)) == ["a.txt", "folder/b.txt", "folder/c.safetensors"]
    assert [entry.path for entry in api.list_repo_tree(REPO_ID)] == ["a.txt", "folder"]
    assert api.get_paths_info(REPO_ID, ["a.txt", "lost.txt"])[0].size == len("content of a.txt")
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(REPO_ID, "lost"))


def test_a_snapshot_holds_what_was_uploaded(api, hub, tmp_path):
    folder = snapshot_download(REPO_ID, cache_dir=tmp_path / "cache", endpoint=hub.url, token=TOKEN)
    api.delete_file("a.txt", REPO_ID)
    with open(f"{folder}/folder/c.safetensors") as file:
        assert file.read() == "content of folder/c.safetensors"
    assert "a.txt" not in hub.repository(REPO_ID).files()


def test_parts_of_a_file_can_be_asked_for(api, hub):
    wanted = Request(f"{hub.url}/{REPO_ID}/resolve/main/a.txt", headers={"Range": "bytes=3-6"})
    with urlopen(wanted) as answer:
        assert (answer.status, answer.read(), answer.headers["Content-Range"]) == (206, b"tent", "bytes 3-6/16")


def test_what_does_not_exist_is_named_as_the_client_expects(api):
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("tester/nothing")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(REPO_ID, revision="nowhere")
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download(REPO_ID, "lost.txt")


def test_a_wrong_token_cannot_write(api, hub):
    with pytest.raises(HfHubHTTPError, match="401"):
        HfApi(endpoint=hub.url, token="wrong").create_repo("tester/other")
    assert ("model", "tester/other") not in hub.repositories
