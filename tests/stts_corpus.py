"""A small corpus of short clips, and settings with which STTS trains on it in seconds."""

from dataclasses import replace

import yaml

from hf_vidmodels.data.embedded.embedded_corpora import make_embedded_corpus
from hf_vidmodels.data.embedded.embedded_videos import ClipParameters

SMALL = replace(ClipParameters(), size=32, num_frames=(16, 20), action_frames=(8, 10), actor_side=(10, 14))
SETTINGS = {
    "model": {"preset": "tiny-mvit", "num_noise_samples": 20},
    "processor": {"size": {"shortest_edge": 32}, "sampling_strategy": "segments", "evaluation_views": 1},
    "num_train_epochs": 2,
    "per_device_train_batch_size": 2,
    "learning_rate": 0.001,
    "following_learning_rate": 0.0005,
    "following_start_epoch": 0.0,
    "disable_tqdm": True,
}


def make_corpus(folder, train=6, test=3):
    """Make the corpus below `folder`; give its own folder, which `load_corpus` reads."""
    parameters = replace(SMALL, splits=(("train", train), ("test", test)))
    return make_embedded_corpus("clips", cache_dir=folder, parameters=parameters)


def write_recipe(path, corpus, **changes):
    """Write a recipe file for the corpus."""
    path.write_text(yaml.safe_dump({"method": "stts", "dataset_name": str(corpus), **SETTINGS, **changes}))
    return path
