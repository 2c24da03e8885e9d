import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from transformers import AutoModelForVideoClassification, AutoProcessor, AutoVideoProcessor, pipeline

from hf_vidmodels import SttsConfig, SttsForVideoClassification, SttsVideoProcessor
from hf_vidmodels.data.video_writing import write_video
from video_examples import moving_square


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("stts")
    config = SttsConfig.from_preset("tiny-mvit", id2label={0: "wave", 1: "jump", 2: "sit"})
    SttsForVideoClassification(config).save_pretrained(folder)
    SttsVideoProcessor.from_config(config).save_pretrained(folder)
    for name, frames in (
        ("long.mp4", moving_square()),
        ("short.webm", moving_square(3)),
        ("gif.gif", moving_square()),
    ):
        write_video(folder / name, frames, 25)
    return folder


@pytest.mark.parametrize("name", ["long.mp4", "short.webm", "gif.gif"])
def test_transformers_pipeline_answers_about_a_file_as_processor_and_model_do(folder, name):
    answers = pipeline("video-classification", model=str(folder))(str(folder / name), top_k=2)
    processor = AutoVideoProcessor.from_pretrained(folder)
    model = AutoModelForVideoClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        outputs = model(**processor(folder / name))
    expected = processor.post_process_video_classification(outputs, top_k=2)[0]
    assert [answer["label"] for answer in answers] == [
        model.config.id2label[label] for label in expected["labels"].tolist()
    ]
    np.testing.assert_allclose([answer["score"] for answer in answers], expected["scores"], rtol=1e-5)


def test_several_files_get_an_answer_each(folder):
    files = [str(folder / "long.mp4"), str(folder / "short.webm")]
    classify = pipeline("video-classification", model=str(folder))
    assert classify(files, top_k=1) == [classify(file, top_k=1) for file in files]


def test_an_array_of_several_videos_gets_an_answer_for_each(folder):
    first = moving_square(20)
    videos = np.stack([first, 255 - first])
    classify = pipeline("video-classification", model=str(folder))
    expected = [classify(video, top_k=1) for video in videos]
    assert classify(videos, top_k=1) == classify(torch.from_numpy(videos), top_k=1) == expected


@pytest.mark.parametrize("batch_size", [2, 3])
def test_batches_of_files_get_the_answers_of_single_ones(folder, batch_size):
    files = [str(folder / name) for name in ("long.mp4", "short.webm", "gif.gif")]
    classify = pipeline("video-classification", model=str(folder))
    single = [classify(file) for file in files]
    for found, expected in zip(classify(files, batch_size=batch_size), single, strict=True):
        assert [answer["label"] for answer in found] == [answer["label"] for answer in expected]
        np.testing.assert_allclose(
            [answer["score"] for answer in found], [answer["score"] for answer in expected], rtol=1e-5
        )


def test_addresses_are_read_like_the_files_behind_them(folder):
    classify = pipeline("video-classification", model=str(folder))
    expected = classify(str(folder / "long.mp4"))
    assert classify((folder / "long.mp4").as_uri()) == expected
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert (
            classify([f"{address}/long.mp4", str(folder / "long.mp4")], batch_size=2)
            == [[pytest.approx(answer) for answer in expected]] * 2
        )
        with pytest.raises(OSError, match="none.mp4 cannot be fetched .*404"):
            classify(f"{address}/none.mp4")
        server.shutdown()
    with pytest.raises(ValueError, match="is no address that can be read"):
        classify("ftp://127.0.0.1/long.mp4")


def test_classes_that_are_independent_get_a_probability_each(folder, tmp_path):
    model = AutoModelForVideoClassification.from_pretrained(folder, problem_type="multi_label_classification")
    model.save_pretrained(tmp_path)
    SttsVideoProcessor.from_config(model.config).save_pretrained(tmp_path)
    answers = pipeline("video-classification", model=str(tmp_path))(str(folder / "long.mp4"))
    with torch.no_grad():
        logits = model(**AutoVideoProcessor.from_pretrained(tmp_path)(folder / "long.mp4")).logits
    assert sorted(answer["score"] for answer in answers) == pytest.approx(sorted(logits.sigmoid()[0].tolist()))


def test_a_file_that_is_no_video_is_one_sentence(folder, tmp_path):
    (tmp_path / "notes.mp4").write_text("no video" * 99)
    with pytest.raises(ValueError, match="notes.mp4 is not a video that FFmpeg can open"):
        pipeline("video-classification", model=str(folder))(str(tmp_path / "notes.mp4"))


def test_the_processor_is_found_by_every_auto_class(folder):
    assert type(AutoVideoProcessor.from_pretrained(folder)) is SttsVideoProcessor
    assert type(AutoProcessor.from_pretrained(folder)) is SttsVideoProcessor


def test_the_views_of_a_test_protocol_are_classified_in_one_batch(folder):
    processor = AutoVideoProcessor.from_pretrained(folder)
    model = AutoModelForVideoClassification.from_pretrained(folder).eval()
    files = [folder / "long.mp4", folder / "gif.gif"]
    inputs = processor(files, num_views=processor.evaluation_views, num_crops=3)["pixel_values"]
    assert inputs.shape == (2, 15, 8, 3, 32, 32)
    with torch.no_grad():
        logits = model(inputs.flatten(0, 1)).logits.unflatten(0, (2, 15))
    answers = processor.post_process_video_classification(logits, top_k=None)
    torch.testing.assert_close(answers[0]["scores"].sum(), torch.tensor(15.0))
