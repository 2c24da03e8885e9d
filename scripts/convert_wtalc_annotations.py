"""Convert THUMOS-14 annotations in the W-TALC layout to gt.json and split files.

The annotations are .npy files that hold pickled Python objects. They are opened by an unpickler that makes arrays,
numbers and strings and refuses anything else. The result is the folder that `load_corpus("thumos14", data_dir=...)`
reads once it holds the features too, as train/ID.npy and test/ID.npy.

    python scripts/convert_wtalc_annotations.py Thumos14reduced-Annotations data/thumos14
    python scripts/convert_wtalc_annotations.py Thumos14reduced-Annotations data/thumos14 \\
        --features Thumos14reduced-I3D-JOINTFeatures.npy \\
        --exclude video_test_0000270 video_test_0001496
"""

import argparse

from hf_vidmodels.command_line import run
from hf_vidmodels.data.published.wtalc import VIDEO_LABEL_SOURCES, convert_wtalc_annotations


def main() -> None:
    """Read the command line and convert."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", help="folder with videoname.npy, segments.npy, labels.npy, ...")
    parser.add_argument("output_dir", help="folder for gt.json, split_train.txt and split_test.txt")
    parser.add_argument(
        "--video_labels",
        choices=VIDEO_LABEL_SOURCES,
        default="instances",
        help="classes of a video: those of its annotated instances (default, as ASM-Loc does), or those of "
        "labels_all.npy (as W-TALC does), which names fewer classes for some videos",
    )
    parser.add_argument(
        "--exclude",
        nargs="+",
        default=[],
        metavar="VIDEO_ID",
        help="videos to leave out; the field leaves out video_test_0000270 and video_test_0001496, whose annotations "
        "are wrong, and then tests on 210 videos",
    )
    parser.add_argument(
        "--features",
        help="object array of all videos' features in the order of videoname.npy; each is written to train/ID.npy or "
        "test/ID.npy (the whole array is read into memory)",
    )
    arguments = parser.parse_args()
    counts = convert_wtalc_annotations(
        arguments.annotations,
        arguments.output_dir,
        video_labels=arguments.video_labels,
        exclude=arguments.exclude,
        features=arguments.features,
    )
    videos = ", ".join(f"{count} videos in split_{split}.txt" for split, count in counts.items())
    print(f"wrote {arguments.output_dir}/gt.json: {videos}")


if __name__ == "__main__":
    run(main)
