import base64
import errno
import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest

from hf_vidmodels.visualization import timeline_page
from hf_vidmodels.visualization.timeline_page import write_timeline_page

NAMES = ["run", "<script>alert('jump')</script>"]
PREDICTION = {
    "segments": np.array([[6.0, 8.0], [1.0, 3.0], [2.0, 65.25]]),
    "scores": np.array([0.2, 0.8, 0.4]),
    "labels": np.array([1, 0, 0]),
}
REFERENCE = {"segments": np.array([[1.5, 3.5]]), "labels": np.array([0])}
NOTHING = {"segments": [], "scores": [], "labels": []}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(HTMLParser):
    """All tags with their attributes, and the texts of table cells."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self._in_cell = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "td":
            self.cells.append("")
            self._in_cell = True

    def handle_endtag(self, tag):
        self._in_cell = self._in_cell and tag != "td"

    def handle_data(self, text):
        if self._in_cell:
            self.cells[-1] += text

    def all(self, tag, css_class=None):
        return [
            attributes
            for name, attributes in self.tags
            if name == tag and (css_class is None or css_class in attributes.get("class", "").split())
        ]


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "videos" / "a clip #1 100%.mp4"
    path.parent.mkdir()
    path.write_bytes(b"not really a video")
    return path


def write(tmp_path, video, prediction=PREDICTION, **options):
    path = write_timeline_page(
        tmp_path / "page.html", video, prediction, **({"duration": 70.0, "label_names": NAMES} | options)
    )
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def open_in_browser(page, *flags):
    """Open a page in Chromium and return what it then consists of."""
    known = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    known += " --disable-component-update --disable-sync --dump-dom"
    command = [CHROMIUM, *known.split(), *flags, f"--user-data-dir={page.parent / 'profile'}", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_the_table_lists_segments_by_time_with_scores(tmp_path, video):
    _, page = write(tmp_path, video, reference=REFERENCE)
    rows = np.array(page.cells).reshape(-1, 6)
    assert rows[:, 0].tolist() == ["0:01.0", "0:01.5", "0:02.0", "0:06.0"]
    assert rows[:, 1].tolist() == ["0:03.0", "0:03.5", "1:05.3", "0:08.0"]
    assert rows[:, 3].tolist() == ["run", "run", "run", NAMES[1]]
    assert rows[:, 4].tolist() == ["prediction", "ground truth", "prediction", "prediction"]
    assert rows[:, 5].tolist() == ["0.8", "", "0.4", "0.2"]


def test_bars_lie_at_their_share_of_the_duration_and_know_where_to_seek(tmp_path, video):
    _, page = write(tmp_path, video, duration=10.0)
    bars = {bar["data-segment"]: bar for bar in page.all("button", "bar")}
    assert bars["prediction-0"]["data-start"] == "1.0"
    assert "left: 10.0%; width: 20.0%; height: 100.0%" in bars["prediction-0"]["style"]
    assert "left: 20.0%; width: 80.0%; height: 50.0%" in bars["prediction-1"]["style"]
    assert {row["data-segment"] for row in page.all("tr") if "data-segment" in row} == set(bars)


def test_the_page_links_to_the_video_relatively_and_to_nothing_else(tmp_path, video):
    text, page = write(tmp_path, video)
    (player,) = page.all("video")
    assert player["src"] == "./videos/a%20clip%20%231%20100%25.mp4"
    assert (tmp_path / unquote(player["src"])).samefile(video)
    assert not re.search(r"https?:|//[a-z]", text)
    assert not page.all("link") and not page.all("img")


def test_a_file_name_like_an_address_scheme_stays_a_file(tmp_path):
    video = tmp_path / "javascript:alert(1).mp4"
    video.write_bytes(b"x")
    _, page = write(tmp_path, video)
    assert page.all("video")[0]["src"] == "./javascript%3Aalert%281%29.mp4"


def test_labels_with_markup_are_harmless(tmp_path, video):
    text, page = write(tmp_path, video, class_scores=np.ones((5, 2)), title='"><script>alert(2)</script>')
    assert len(page.all("script")) == 1
    assert "alert(" not in text.split("<script>")[1]
    assert any(bar["title"].startswith(NAMES[1]) for bar in page.all("button", "bar"))


def test_the_video_can_be_embedded(tmp_path, video, monkeypatch):
    _, page = write(tmp_path, video, embed_video=True)
    kind, data = page.all("video")[0]["src"].split(",")
    assert kind == "data:video/mp4;base64" and base64.b64decode(data) == video.read_bytes()
    monkeypatch.setattr(timeline_page, "MAX_EMBEDDED_BYTES", 4)
    with pytest.raises(ValueError, match="too much to embed"):
        write(tmp_path, video, embed_video=True)


def test_formats_that_browsers_do_not_play_get_a_note_in_place_of_the_player(tmp_path, video):
    avi = video.with_suffix(".avi")
    video.rename(avi)
    text, page = write(tmp_path, avi)
    assert not page.all("video")
    assert "hidden" not in page.all("p", "note")[0]
    assert "cannot play a clip #1 100%.avi" in text
    assert len(page.all("button", "bar")) == 3


def test_the_notes_wait_hidden_where_the_browser_may_play_the_video(tmp_path, video):
    notes = write(tmp_path, video)[1].all("p", "note")
    assert [note["id"] for note in notes] == ["missing", "unplayable"]
    assert all("hidden" in note for note in notes)
    embedded = write(tmp_path, video, embed_video=True)[1].all("p", "note")
    assert [note["id"] for note in embedded] == ["unplayable"]


def test_curves_are_drawn_for_attention_and_every_class(tmp_path, video):
    _, page = write(tmp_path, video, attention=[0.0, 1.0], class_scores=[[0.5, 0.0], [0.25, 0.5]], duration=10.0)
    assert [line["points"] for line in page.all("polyline")] == [
        "250.0,100.0 750.0,0.0",
        "250.0,0.0 750.0,50.0",
        "250.0,100.0 750.0,0.0",
    ]


def test_no_prediction_is_said(tmp_path, video):
    for options in ({}, {"class_scores": np.zeros((4, 2))}, {"attention": np.zeros(4)}):
        _, page = write(tmp_path, video, NOTHING, **options)
        assert page.cells == ["No action predicted."]


def test_hours_are_written_as_hours(tmp_path, video):
    prediction = {"segments": [[3599.96, 7325.04]], "scores": [1.0], "labels": [0]}
    text, page = write(tmp_path, video, prediction, duration=8000.0)
    assert page.cells[:2] == ["1:00:00.0", "2:02:05.0"]
    assert "2:13:20.0 long" in text


def test_what_cannot_be_written_is_said_in_a_sentence(tmp_path, video):
    with pytest.raises(FileNotFoundError, match="there is no video at .*gone.mp4"):
        write(tmp_path, tmp_path / "gone.mp4")
    with pytest.raises(ValueError, match="is a folder; a timeline page needs one video file"):
        write(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="is the video itself"):
        write_timeline_page(video, video, NOTHING, duration=1.0, label_names=NAMES)
    with pytest.raises(ValueError, match="duration must be"):
        write(tmp_path, video, duration=-1.0)
    assert not (tmp_path / "page.html").exists()


def test_a_full_disk_leaves_the_earlier_page(tmp_path, video, monkeypatch):
    (tmp_path / "page.html").write_text("earlier")

    def fail(self, *args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match=r"while writing .*page\.html"):
        write(tmp_path, video)
    assert (tmp_path / "page.html").read_text() == "earlier"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["page.html", "videos"]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_a_click_goes_to_the_segment_and_the_slider_hides_the_weaker_ones(tmp_path, video):
    avi = video.with_suffix(".avi")
    video.rename(avi)
    text, _ = write(tmp_path, avi, reference=REFERENCE, attention=np.linspace(0, 1, 9))
    actions = """<script>
      document.querySelector(".bar[data-segment=prediction-2]").click();
      const slider = document.getElementById("shown");
      const all = (selector) => [...document.querySelectorAll(selector)];
      const ids = (selector) => all(selector).map((element) => element.dataset.segment).sort().join(" ");
      const atFirst = ids(".bar:not([hidden])");
      slider.value = 100;
      slider.dispatchEvent(new Event("input"));
      document.title = [document.getElementById("clock").textContent, timeline.style.getPropertyValue("--at"),
        ids("tr.chosen"), ids("tr.playing"), ids(".bar:not([hidden])"),
        all(".action:not([hidden])").length, atFirst].join("|");
    </script>"""
    page = tmp_path / "driven.html"
    page.write_text(text.replace("</body>", actions + "</body>"), encoding="utf-8")
    opened = open_in_browser(page)
    clock, at, chosen, playing, visible, num_lines, at_first = re.search("<title>(.*)</title>", opened)[1].split("|")
    assert clock == "0:06.0" and float(at) == pytest.approx(6 / 70)
    assert chosen == "prediction-2" and playing == "prediction-1 prediction-2"
    assert visible == "prediction-0 truth-0-0" and num_lines == "1"
    assert at_first == "prediction-0 prediction-1 truth-0-0"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_a_missing_video_is_called_missing_and_a_damaged_one_unplayable(tmp_path, video):
    write(tmp_path, video)

    def shown_notes():
        opened = Page(open_in_browser(tmp_path / "page.html", "--virtual-time-budget=3000"))
        return [note["id"] for note in opened.all("p", "note") if "hidden" not in note]

    assert shown_notes() == ["unplayable"]
    video.unlink()
    assert shown_notes() == ["missing"]
