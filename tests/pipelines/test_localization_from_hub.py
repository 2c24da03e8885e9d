import pytest
from huggingface_hub import HfApi
from transformers import AutoModel, pipeline

from fake_hub import TOKEN, FakeHub
from feature_extraction_examples import save_tiny_checkpoint, write_moving_video
from hf_vidmodels.data.features.feature_extraction import SnippetFeatureExtractor

TASK = "temporal-action-localization"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A fake Hub that this process's client talks to."""
    with FakeHub() as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("NO_PROXY", "*")
        yield server


def test_a_checkpoint_on_the_hub_takes_video(hub, tmp_path):
    folder = save_tiny_checkpoint(tmp_path / "checkpoint")
    video = str(write_moving_video(tmp_path / "a.mp4", 64))
    expected = pipeline(TASK, model=str(folder), device="cpu")(video)
    api = HfApi()
    api.create_repo("tester/tiny-asm-loc")
    api.upload_folder(repo_id="tester/tiny-asm-loc", folder_path=folder)

    assert pipeline(TASK, model="tester/tiny-asm-loc", device="cpu")(video) == expected
    extractor = SnippetFeatureExtractor.from_checkpoint("tester/tiny-asm-loc")
    again = SnippetFeatureExtractor.from_checkpoint(AutoModel.from_pretrained("tester/tiny-asm-loc"))
    assert extractor.weights_digests() == again.weights_digests()
    with pytest.raises(OSError, match=r"nobody/nothing"):
        SnippetFeatureExtractor.from_checkpoint("nobody/nothing")
