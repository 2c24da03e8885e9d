import av
import numpy as np
import pytest

from hf_vidmodels.data.video_writing import write_video

RATE = 44100


def film_with_sound(path, codec, seconds=2):
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream(codec, rate=RATE)
        for number in range(25 * seconds):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE * seconds) / RATE)
        sound = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="flt", layout="mono")
        sound.sample_rate, sound.pts = RATE, 0
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def sound_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return stream.codec_context.name, np.concatenate([f.to_ndarray().mean(0) for f in container.decode(stream)])


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("b.avi", "pcm_s16le")])
def test_sound_is_taken_along_as_long_as_the_frames_last(tmp_path, name, codec):
    film_with_sound(tmp_path / name, codec)
    write_video(tmp_path / "out.mp4", np.zeros((30, 48, 64, 3), np.uint8), 25, sound_of=tmp_path / name)
    encoder, wave = sound_of(tmp_path / "out.mp4")
    assert encoder == "aac"
    assert len(wave) == pytest.approx(1.2 * RATE, abs=4000)
    spectrum = np.abs(np.fft.rfft(wave[4096 : 4096 + RATE // 2]))
    assert spectrum.argmax() * 2 == pytest.approx(440, abs=4)
    assert wave.std() == pytest.approx(0.3 / np.sqrt(2), abs=0.08)


def test_a_film_without_sound_gives_none(tmp_path):
    write_video(tmp_path / "silent.mp4", np.zeros((10, 48, 64, 3), np.uint8), 25)
    write_video(tmp_path / "out.mp4", np.zeros((10, 48, 64, 3), np.uint8), 25, sound_of=tmp_path / "silent.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio
        assert container.streams.video[0].frames == 10
