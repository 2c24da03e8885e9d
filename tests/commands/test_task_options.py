import pytest

from hf_vidmodels.commands.task_options import read_config

WAY_OUT = "give the output folder of a finished run, or a Hub id"


@pytest.mark.parametrize("place", ["runs/first/mistyped", "/no/such/folder", "two words"])
def test_a_mistyped_folder_is_named(place):
    with pytest.raises(FileNotFoundError, match=f"{place} is no folder here, nor opened from the Hub .*{WAY_OUT}"):
        read_config(place)


def test_a_name_that_could_be_of_the_hub_is_named_too(monkeypatch):
    def unreachable(name, **options):
        raise OSError("We could not connect\nand more")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", unreachable)
    with pytest.raises(FileNotFoundError, match=r"runs/mistyped is no folder here.*\(We could not connect\); give"):
        read_config("runs/mistyped")


def test_files_and_folders_of_other_things_are_named(tmp_path):
    (tmp_path / "config.txt").write_text("{}")
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no config.json; {WAY_OUT}"):
        read_config(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"config\.txt is a file; give the output folder"):
        read_config(str(tmp_path / "config.txt"))
