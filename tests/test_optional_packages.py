"""What only some work needs may be missing: everything else works, and the work itself says what to install."""

import subprocess
import sys

import numpy as np
import pytest

from hf_vidmodels.commands import check_command, evaluate_command, predict_command, train_command
from hf_vidmodels.data.embedded.embedded_digits import load_handwriting
from hf_vidmodels.data.features.optical_flow import flow_pictures
from hf_vidmodels.metrics.mask_average_precision import coco_average_precision
from hf_vidmodels.modeling.ops.heatmaps import threshold_boxes
from hf_vidmodels.optional_packages import DISTRIBUTIONS, EXTRAS, MissingPackageError, require
from hf_vidmodels.processing.feature_reading import read_features
from hf_vidmodels.visualization.loss_curve import draw_loss_curve
from script_runs import ROOT, environment

WITHOUT_OPTIONAL_PACKAGES = """
import pkgutil, sys
from importlib import import_module
for name in sys.argv[1:]:
    sys.modules[name] = None
import hf_vidmodels
for module in pkgutil.walk_packages(hf_vidmodels.__path__, "hf_vidmodels."):
    if not module.name.endswith("__main__"):
        import_module(module.name)
config = hf_vidmodels.AsmLocConfig(input_size=8, hidden_size=8, num_attention_heads=2, num_labels=2)
model = hf_vidmodels.AsmLocForTemporalActionLocalization(config)
print(sum(parameter.numel() for parameter in model.parameters()) > 0)
"""


def test_every_module_imports_and_a_model_is_built_without_any_of_them():
    command = [sys.executable, "-c", WITHOUT_OPTIONAL_PACKAGES, *EXTRAS]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "True"), done.stderr[-2000:]


@pytest.mark.parametrize(
    ("module", "use"),
    [
        ("matplotlib", lambda folder: draw_loss_curve([{"step": 1, "loss": 0.5}])),
        ("matplotlib", lambda folder: train_command.main(["--recipe", "asm_loc/embedded", "--output_dir", folder])),
        (
            "matplotlib",
            lambda folder: evaluate_command.main(
                ["--model", folder, "--corpus", folder, "--output_dir", f"{folder}/out"]
            ),
        ),
        ("matplotlib", lambda folder: check_command.main(["--corpus", folder])),
        (
            "matplotlib",
            lambda folder: predict_command.main(
                ["--method", "l2_caf", "--model", "org/model", "--input", folder, "--output_dir", f"{folder}/out"]
            ),
        ),
        ("cv2", lambda folder: flow_pictures(np.zeros((2, 16, 16, 3), np.uint8), [0], 20.0)),
        ("cv2", lambda folder: threshold_boxes(np.eye(4), [0.5])),
        ("h5py", lambda folder: read_features(f"{folder}/features.h5")),
        ("sklearn", lambda folder: load_handwriting.__wrapped__()),
        ("faster_coco_eval", lambda folder: coco_average_precision([], {}, backend="faster")),
    ],
)
def test_work_that_needs_a_missing_package_says_in_a_sentence_how_to_install_it(module, use, tmp_path, monkeypatch):
    (tmp_path / "features.h5").touch()
    for name in list(sys.modules):
        if name.partition(".")[0] == module:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError) as error:
        use(str(tmp_path))
    install = f"pip install 'hf_vidmodels[{EXTRAS[module]}]'"
    assert str(error.value).endswith(f"needs the package {DISTRIBUTIONS[module]}, which is not installed: {install}")


def test_a_package_that_lacks_something_of_its_own_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "h5py.py").write_text("import a_part_that_is_gone\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "h5py", raising=False)
    with pytest.raises(ModuleNotFoundError, match="a_part_that_is_gone"):
        require("h5py", "reading")


def test_every_optional_package_is_in_the_extra_that_its_error_names():
    text = (ROOT / "setup.cfg").read_text()
    extras = text.partition("[options.extras_require]")[2].partition("\n[")[0]
    for module, extra in EXTRAS.items():
        assert f"\n{extra} =\n    {DISTRIBUTIONS[module]}>=" in extras
        assert f"\n    {DISTRIBUTIONS[module]}" not in text.partition("[options.extras_require]")[0]
