import numpy as np

from hf_vidmodels.visualization.part_sheet import PartRow, PartView, draw_part_sheet

PICTURE = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def sheet(evidence=((1.0, 0.5), (-1.0, 0.25))):
    near = [(PICTURE, "3 plain"), (PICTURE, "2 $x$")]
    parts = [PartView(np.full((2, 3), value), near) for value in evidence[0]]
    others = [PartView(np.full((2, 3), value), near) for value in evidence[1]]
    return draw_part_sheet(
        [PartRow(PICTURE, "3 plain", "3 plain", parts), PartRow(PICTURE, "7", "2 $x$", others)], "test pictures"
    )


def test_every_line_has_a_picture_and_each_part_with_its_neighbours():
    figure = sheet()
    figure.draw_without_rendering()
    titles = [panel.get_title() for panel in figure.axes]
    assert titles[:7] == [
        "says 3 plain\ntrue: 3 plain",
        "part 1",
        "3 plain",
        r"2 \$x\$",
        "part 2",
        "3 plain",
        r"2 \$x\$",
    ]
    assert titles[7] == "says 7\ntrue: 2 \\$x\\$" and len(titles) == 14
    assert "the training pictures whose same part is most alike" in figure.get_suptitle()


def test_evidence_is_laid_over_the_picture_on_one_scale_for_all_parts():
    panels = sheet().axes
    strengths = [panels[place].images[1].get_array()[0, 0, 3] for place in (1, 4, 8, 11)]
    np.testing.assert_allclose(strengths, [0.75, 0.375, 0, 0.75])
    assert panels[1].images[1].get_extent() == panels[1].images[0].get_extent()


def test_neighbours_of_the_answered_class_are_framed():
    panels = sheet().axes
    framed = [panel.spines["left"].get_visible() for panel in panels]
    assert framed == [False, False, True, False, False, True, False] + [False] * 7
