import hashlib
import itertools
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_vidmodels.data.embedded import embedded_untrimmed
from hf_vidmodels.data.embedded.embedded_corpora import EMBEDDED_CORPORA, compose_embedded_scene
from hf_vidmodels.data.embedded.embedded_digits import draw_handwriting, load_handwriting
from hf_vidmodels.data.embedded.embedded_motions import WAYS, Poses, envelope, perform, wander
from hf_vidmodels.data.embedded.embedded_rendering import iterate_rendered, shown_masks, visible_masks
from hf_vidmodels.data.embedded.embedded_tubes import annotate_tubes
from hf_vidmodels.data.embedded.embedded_untrimmed import UNTRIMMED_FPS, UntrimmedParameters, untrimmed_scene
from hf_vidmodels.data.embedded.embedded_videos import GLOW_COLOURS, ClipParameters
from hf_vidmodels.metrics.box_table import paired_box_iou

# What every platform must get for example 0 of the training split with seed 0: description, rendered pixels.
FINGERPRINTS = {
    "images": ("f10566fb665cba0e", "a8082016555a8bc7"),
    "many_images": ("16aced6cea3f70cf", "e60340ab7bed7ba9"),
    "clips": ("5a025d05e931f10e", "566ece64bf5f61db"),
    "boxes": ("d8ec846865863649", "f8c7c7e46352ac56"),
    "untrimmed": ("ea015ae9c1d60b66", "063ac9581ee0d5f9"),
    "untrimmed-small": ("60bbb3b481781748", "8f54f31ab2e84cf4"),
    "untrimmed-common-scene": ("2e3c989bafa92eab", "955a694d7b4f2e84"),
    "tubes": ("db90fb314d964732", "d9d2c20f2929ec46"),
    "objects": ("7b0acded401c4f9e", "d45c7928a2ea554b"),
    "stories": ("38cfd17b29b5b67d", "3e5d18267150dc9b"),
    "styles": ("e71351d620a5e81b", "25ea294f0e34881a"),
    "motions": ("be1305962cf4a3b7", "338393c5d2dd1fea"),
}


def fingerprint(*values):
    """Hash of everything in scenes and arrays, whatever the width of a platform's integers."""
    digest = hashlib.sha256()

    def add(value):
        if is_dataclass(value):
            for item in fields(value):
                add(getattr(value, item.name))
        elif isinstance(value, list | tuple):
            for item in value:
                add(item)
        elif value is not None:
            digest.update(np.asarray(value).astype("<i8").tobytes())

    add(values)
    return digest.hexdigest()[:16]


def drawn_frames(scene):
    return np.concatenate(list(iterate_rendered(scene)))


@pytest.mark.parametrize("name", EMBEDDED_CORPORA)
def test_a_seed_gives_the_same_scene_and_pixels_on_every_platform(name):
    scene = compose_embedded_scene(name, "train", 0)
    assert (fingerprint(scene), fingerprint(drawn_frames(scene))) == FINGERPRINTS[name]


def test_seeds_splits_and_examples_differ():
    scenes = [
        compose_embedded_scene("objects", "train", 0),
        compose_embedded_scene("objects", "train", 1),
        compose_embedded_scene("objects", "test", 0),
        compose_embedded_scene("objects", "train", 0, seed=1),
    ]
    assert len({fingerprint(scene) for scene in scenes}) == 4


def test_no_handwriting_of_the_test_split_is_seen_in_training():
    rng = np.random.default_rng(0)
    train = {draw_handwriting(rng, "train") for _ in range(20000)}
    test = {draw_handwriting(rng, "test") for _ in range(5000)}
    assert not train & test
    assert train | test == set(range(len(load_handwriting()[1])))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_actions_of_untrimmed_videos_keep_their_distance(seed):
    parameters = UntrimmedParameters(common_scenes=(0, 2))
    scene = untrimmed_scene(np.random.default_rng(seed), "train", parameters)
    previous_end = 0
    for action in scene.actions:
        assert action.start - previous_end >= parameters.gap
        assert parameters.shortest <= action.end - action.start <= parameters.longest
        previous_end = action.end
    assert scene.num_frames - previous_end >= parameters.gap
    assert 1 <= len({action.label for action in scene.actions}) <= 2


def test_untrimmed_videos_are_as_long_and_full_as_their_parameters_say():
    scenes = [compose_embedded_scene("untrimmed", "train", index) for index in range(48)]
    lengths = np.array([scene.num_frames for scene in scenes]) / UNTRIMMED_FPS
    assert 60 <= lengths.min() < 80 and 160 < lengths.max() <= 240
    parameters = UntrimmedParameters()
    numbers = [len(scene.actions) for scene in scenes]
    assert max(numbers) <= parameters.instances[1] and np.ptp(numbers) > 3
    durations = np.array([action.end - action.start for scene in scenes for action in scene.actions]) / UNTRIMMED_FPS
    assert durations.min() >= 1 and durations.max() <= 30
    assert np.mean(durations < 4) > 0.5 and np.mean(durations >= 8) > 0.1
    assert {action.label for scene in scenes for action in scene.actions} == set(range(len(WAYS)))


def movement(scene):
    """How far the acting digit moves from frame to frame, beside what it drifts: (T,) in 1/64 pixel."""
    poses = scene.sprites[scene.actions[0].actor].poses
    return np.abs(np.diff(poses.x, prepend=poses.x[0])) + np.abs(np.diff(poses.y, prepend=poses.y[0]))


def test_the_first_action_of_a_class_is_plain_and_later_ones_are_often_weak_and_rest():
    parameters = UntrimmedParameters(weak_percent=100, shortest=64, octaves=1, instances=(4, 4))
    scenes = [untrimmed_scene(np.random.default_rng(seed), "train", parameters) for seed in range(8)]
    for scene in scenes:
        moved = movement(scene)
        strengths = [np.percentile(moved[action.start : action.end], 80) for action in scene.actions]
        for label in {action.label for action in scene.actions}:
            own = sorted(s for s, action in zip(strengths, scene.actions, strict=True) if action.label == label)
            assert len(own) == 1 or own[-1] > 1.3 * own[-2]
    resting = [
        np.mean(movement(scene)[action.start : action.end] < 40) for scene in scenes for action in scene.actions
    ]
    assert np.mean(resting) > 0.1


def test_fidgets_are_of_classes_that_the_video_does_not_have(monkeypatch):
    performed = []
    monkeypatch.setattr(embedded_untrimmed, "perform", lambda poses, motion, *rest: performed.append(motion))
    scene = untrimmed_scene(np.random.default_rng(3), "train", UntrimmedParameters(fidgets=(20, 20)))
    own = {WAYS[action.label] for action in scene.actions}
    fidgets = performed[len(scene.actions) :]
    assert len(fidgets) > 3 and not own & set(fidgets)


def test_the_picture_slides_beside_actions_to_the_side_of_their_class():
    drift = np.zeros((40, 2), np.int64)
    embedded_untrimmed._slide(drift, WAYS.index("slant"), 30, 20)
    assert not drift[:31].any() and (np.diff(drift[31:, 0]) >= 0).all() and drift[-1, 0] > 5 and not drift[:, 1].any()


def test_common_scenes_are_in_every_video_and_are_no_action():
    scene, other = (compose_embedded_scene("untrimmed-common-scene", "train", index) for index in range(2))
    for one in (scene, other):
        outside = np.ones(one.num_frames, bool)
        for action in one.actions:
            outside[action.start : action.end] = False
        size = one.sprites[one.actions[0].actor].poses.size
        # Only common scenes let the digit grow and shrink.
        assert np.ptp(size[outside]) > 0 and np.ptp(size[~outside]) == 0


def still_poses(num_frames=60):
    centre, full = np.full(num_frames, 2048), np.full(num_frames, 256)
    return Poses(centre.copy(), centre.copy(), np.full(num_frames, 1280), np.zeros(num_frames, np.int64), full)


@pytest.mark.parametrize(
    ("action", "changed"),
    [
        ("swing", {"x"}),
        ("bounce", {"y"}),
        ("spin", {"angle"}),
        ("pulse", {"size"}),
        ("blink", {"opacity"}),
        ("slant", {"x", "y"}),
        ("climb", {"x", "y"}),
        ("circle", {"x", "y"}),
    ],
)
def test_an_action_changes_one_property_and_only_while_it_lasts(action, changed):
    before, poses = still_poses(), still_poses()
    perform(poses, action, 10, envelope(30, 8), period=15)
    for item in fields(Poses):
        old, new = getattr(before, item.name), getattr(poses, item.name)
        assert np.array_equal(old, new) == (item.name not in changed)
        assert np.array_equal(old[:10], new[:10])
        # A spin may end at another angle, but nothing moves any more.
        assert np.ptp(new[40:]) == 0


def test_an_action_is_weak_at_its_ends():
    poses = still_poses(100)
    perform(poses, "swing", 0, envelope(100, 30), period=10)
    reach = np.abs(poses.x - 2048)
    assert reach[:5].max() < 0.25 * reach[40:60].max() and reach[-5:].max() < 0.25 * reach[40:60].max()


def test_unknown_actions_are_refused():
    with pytest.raises(ValueError, match="unknown action 'jump'; the actions are swing"):
        perform(still_poses(), "jump", 0, envelope(10, 2), 5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(-500, 500), st.integers(0, 1000))
def test_wandering_stays_in_bounds_without_jumps(seed, num_frames, low, width):
    way = wander(np.random.default_rng(seed), num_frames, low, low + width, rest_percent=30)
    assert way.shape == (num_frames,)
    assert way.min() >= low and way.max() <= low + width
    assert num_frames == 1 or np.abs(np.diff(way)).max() <= width // 40 + 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 150))
def test_envelopes_rise_and_fall_symmetrically(length, ramp):
    strength = envelope(length, ramp)
    assert strength.shape == (length,)
    assert np.array_equal(strength, strength[::-1])
    assert strength.min() >= 0 and strength.max() <= 256
    if 2 * ramp < length:
        assert strength.max() == 256


def test_a_turned_digit_keeps_its_shape():
    scene = compose_embedded_scene("objects", "train", 3)
    scene.sprites = scene.sprites[-1:]
    poses = scene.sprites[0].poses
    poses.x[:], poses.y[:], poses.angle[:] = scene.size * 32, scene.size * 32, 0
    upright = shown_masks(scene, 0)[0]
    poses.angle[:] = 256
    turned = shown_masks(scene, 0)[0]
    agreement = (np.rot90(upright, -1) & turned).sum() / (np.rot90(upright, -1) | turned).sum()
    assert agreement > 0.85
    assert (upright & turned).sum() / (upright | turned).sum() < 0.7


def test_a_later_sprite_hides_an_earlier_one():
    scene = compose_embedded_scene("boxes", "train", 0)
    shown, visible = shown_masks(scene, 0), visible_masks(scene, 0)
    assert np.array_equal(shown[-1], visible[-1])
    assert visible.sum(axis=0).max() == 1
    assert np.array_equal(shown.any(axis=0), visible.any(axis=0))


def test_a_clip_tells_its_class_in_a_short_time_and_a_small_region():
    parameters = ClipParameters()
    for index in range(20):
        scene = compose_embedded_scene("clips", "test", index)
        (action,) = scene.actions
        assert 12 <= action.end - action.start <= 16 and scene.num_frames >= 56
        strengths = np.stack([np.zeros(scene.num_frames, int) if s.glow is None else s.glow for s in scene.sprites])
        acting = strengths[action.actor]
        assert acting.max() == 256 and (acting[: action.start] == 0).all() and (acting[action.end :] == 0).all()
        assert tuple(scene.sprites[action.actor].glow_colour) == GLOW_COLOURS[action.label]
        # Others glow as well, but weakly.
        others = np.delete(strengths, action.actor, axis=0)
        assert len(others) >= 4 and others.max() <= parameters.fidget_strength[1]


def test_clips_have_a_split_to_choose_settings_on_before_the_one_that_scores_them():
    splits = dict(ClipParameters().splits)
    assert list(splits) == ["train", "validation", "test"]
    firsts = {split: fingerprint(compose_embedded_scene("clips", split, 0)) for split in splits}
    assert len(set(firsts.values())) == 3


def test_some_training_clips_are_close_ups_of_an_action_and_none_of_those_that_score():
    for split, share in (("train", 0.4), ("validation", 0.0), ("test", 0.0)):
        scenes = [compose_embedded_scene("clips", split, index) for index in range(100)]
        close_ups = [scene for scene in scenes if len(scene.sprites) == 1]
        assert len(close_ups) == pytest.approx(100 * share, abs=12 * bool(share))
        assert all((scene.actions[0].start, scene.actions[0].end) == (0, scene.num_frames) for scene in close_ups)


def test_a_glowing_digit_takes_the_colour_of_its_glow():
    scene = compose_embedded_scene("clips", "test", 0)
    (action,) = scene.actions
    actor = scene.sprites[action.actor]
    middle = (action.start + action.end) // 2
    alone = replace(scene, sprites=[replace(actor, poses=replace(actor.poses, opacity=np.full_like(actor.glow, 256)))])
    shown = drawn_frames(alone)[middle][shown_masks(alone, middle)[0]].astype(int)
    expected = np.array(GLOW_COLOURS[action.label]) * scene.background.light[middle] // 256
    assert np.median(np.abs(shown - expected)) <= 1


def test_digits_of_the_box_corpus_keep_their_distance():
    crowded = replace(EMBEDDED_CORPORA["boxes"].parameters, digits=(4, 4))
    numbers = []
    for index in range(30):
        scene = compose_embedded_scene("boxes", "train", index, parameters=crowded)
        digits = [sprite.poses for sprite in scene.sprites if sprite.digit >= 0]
        numbers.append(len(digits))
        for first, second in itertools.combinations(digits, 2):
            apart = max(abs(first.x[0] - second.x[0]), abs(first.y[0] - second.y[0]))
            assert apart >= 0.7 * (first.size[0] + second.size[0]) / 2
    # Where there is no room there are fewer, but most pictures have what was asked for.
    assert min(numbers) >= 1 and np.mean(numbers) > 3


def test_pieces_of_a_video_join_without_a_seam():
    scene = compose_embedded_scene("clips", "train", 0)
    frames = drawn_frames(scene)
    assert frames.shape == (scene.num_frames, 64, 64, 3) and frames.dtype == np.uint8
    # 64 frames are drawn at once; across that border nothing may jump.
    change = np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3))
    assert change.max() < 6


def test_acting_digits_leave_their_place_within_a_second():
    rows = [
        row
        for index in range(8)
        for row in annotate_tubes(compose_embedded_scene("tubes", "train", index), f"{index}", index, None)
    ]
    boxes = {
        (row["video_id"], actor, row["timestamp"]): np.array(box)
        for row in rows
        for actor, box in zip(row["actor_ids"], row["boxes"], strict=True)
    }
    kept = [
        paired_box_iou(boxes[video, actor, second - 1], box)
        for (video, actor, second), box in boxes.items()
        if (video, actor, second - 1) in boxes
    ]
    assert len(kept) > 30
    assert np.median(kept) < 0.4
