import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import transformers
from transformers.dynamic_module_utils import get_relative_imports

import hf_vidmodels
from hf_vidmodels.auto import METHODS, task_classes
from hf_vidmodels.hub.code_export import export_code, flatten_modules
from method_examples import EXAMPLES

PACKAGE_FOLDER = Path(hf_vidmodels.__file__).parent
OPENER = Path(__file__).parent / "open_checkpoints.py"

TOY_PROCESSORS = """
from transformers import ProcessorMixin
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_utils import PILImageResampling
from transformers.video_processing_utils import BaseVideoProcessor

from .processing_base import SharedProcessorMixin


class ToyImageProcessor(SharedProcessorMixin, TorchvisionBackend):
    resample = PILImageResampling.BILINEAR
    size = {"height": 4, "width": 4}
    do_resize = True
    do_rescale = True


class ToyVideoProcessor(SharedProcessorMixin, BaseVideoProcessor):
    resample = PILImageResampling.BILINEAR
    size = {"height": 4, "width": 4}
    do_resize = True
    do_rescale = True
    do_sample_frames = False


class ToyProcessor(SharedProcessorMixin, ProcessorMixin):
    def __init__(self, video_processor=None, **kwargs):
        super().__init__(video_processor, **kwargs)

    def __call__(self, videos, **kwargs):
        return self.video_processor(videos, **kwargs)
"""


def processing_modules(method):
    classes = (method.config_class, method.primary_class, method.processor_class, *task_classes(method).values())
    return {found.__module__ for found in classes}


# -- flattening, on packages made for the purpose


@pytest.fixture
def toy_package(tmp_path, monkeypatch, request):
    """Gives a function that writes a package of modules and flattens one of them."""
    name = f"toy_{abs(hash(request.node.name))}"
    monkeypatch.syspath_prepend(tmp_path)

    def flatten(modules, start):
        for path, source in modules.items():
            file = tmp_path / name / f"{path}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(source.replace("PACKAGE", name))
            for folder in (file.parent, *file.parent.parents):
                if folder == tmp_path:
                    break
                (folder / "__init__.py").touch()
        return flatten_modules([f"{name}.{start}"], package=name)

    return flatten


def test_imports_of_every_form_become_imports_beside_the_file(toy_package, tmp_path, monkeypatch):
    sources = toy_package(
        {
            "configuration/configuration_toy": "SCALE = 2\n",
            "modeling/ops/doubling": "from ...configuration.configuration_toy import (\n    SCALE,\n)\n\n\n"
            "def double(value):\n    return value * SCALE\n",
            "modeling/layers/adding": "def add(value):\n"
            "    from PACKAGE.modeling.ops.doubling import double as twice; return twice(value) + 1\n",
            "modeling/modeling_toy": '"""from ..x import y"""\nimport math\n'
            "from .layers.adding \\\n    import add\nfrom .ops.doubling import double\n\n"
            "RESULT = math.floor(add(double(10)))\n",
        },
        "modeling.modeling_toy",
    )
    assert set(sources) == {"modeling_toy", "adding", "doubling", "configuration_toy"}
    flat = tmp_path / "flat_toy"
    flat.mkdir()
    for stem, source in sources.items():
        (flat / f"{stem}.py").write_text(source)
    namespace = {}
    exec("from flat_toy.modeling_toy import RESULT", namespace)
    assert namespace["RESULT"] == 41
    assert sources["modeling_toy"].count("from ..x import y") == 1


@pytest.mark.parametrize(
    ("modules", "complaint"),
    [
        ({"modeling/m": "import PACKAGE.modeling.n\n"}, "cannot be exported; write"),
        ({"modeling/m": "import math, PACKAGE\n"}, "cannot be exported; write"),
        ({"modeling/m": "from . import n\n", "modeling/n": ""}, "is a package"),
        ({"modeling/m": "from .layers import n\n", "modeling/layers/n": ""}, "is a package"),
        ({"modeling/m": "def f():\n    from ..data.d import x\n", "data/d": "x = 1"}, "only configuration, modeling"),
        ({"modeling/m": "from .a.same import x\nfrom .b.same import y\n", "modeling/a/same": "x = 1",
          "modeling/b/same": "y = 1"}, "would both be exported as same.py"),
        ({"modeling/m": "import math; from .n import x\n", "modeling/n": "x = 1"}, "must begin its own line"),
        ({"modeling/m": "def f():\n    from .lost import x\n"}, "there is no module"),
    ],
)  # fmt: skip
def test_code_that_would_break_in_a_flat_folder_is_refused(toy_package, modules, complaint):
    with pytest.raises(ValueError, match=complaint):
        toy_package(modules, "modeling.m")


# -- conventions that keep all methods exportable


def test_module_names_are_unique_in_the_package():
    stems = [path.stem for path in PACKAGE_FOLDER.rglob("*.py") if path.stem != "__init__"]
    assert sorted(stems) == sorted(set(stems))


def test_all_methods_can_be_exported_together_and_need_nothing_of_the_package(tmp_path):
    sources = flatten_modules(set().union(*map(processing_modules, METHODS)))
    for stem, source in sources.items():
        (tmp_path / f"{stem}.py").write_text(source)
    for stem, source in sources.items():
        nodes = list(ast.walk(ast.parse(source)))
        absolute = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        absolute |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}
        assert not {name for name in absolute if name.split(".")[0] == "hf_vidmodels"}
        relative = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 1}
        assert relative <= set(sources)
        # What transformers finds by its regular expression is what the code imports.
        assert set(get_relative_imports(tmp_path / f"{stem}.py")) == relative


# -- export_code


def test_auto_map_names_the_config_the_model_and_the_task_classes_of_transformers(checkpoints):
    for checkpoint in checkpoints:
        auto_map = json.loads((checkpoint.folder / "config.json").read_text())["auto_map"]
        tasks = {auto.__name__ for auto in task_classes(checkpoint.method) if hasattr(transformers, auto.__name__)}
        assert set(auto_map) == {"AutoConfig", "AutoModel"} | tasks
        for reference in auto_map.values():
            assert (checkpoint.folder / f"{reference.split('.')[0]}.py").is_file()


def test_exporting_twice_changes_nothing(checkpoints):
    checkpoint = checkpoints[0]
    before = {path.name: path.read_bytes() for path in checkpoint.folder.iterdir()}
    model = checkpoint.method.primary_class.from_pretrained(checkpoint.folder)
    export_code(model, checkpoint.folder, [checkpoint.method.processor_class()])
    assert {path.name: path.read_bytes() for path in checkpoint.folder.iterdir()} == before


def test_exporting_before_saving_says_so_and_writes_nothing(tmp_path):
    model = METHODS[0].primary_class(EXAMPLES["asm_loc"].config())
    with pytest.raises(FileNotFoundError, match=r"config.json is missing; call save_pretrained"):
        export_code(model, tmp_path)
    model.save_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"preprocessor_config.json is missing"):
        export_code(model, tmp_path, [METHODS[0].processor_class()])
    assert not list(tmp_path.glob("*.py"))
    assert "auto_map" not in json.loads((tmp_path / "config.json").read_text())


def test_a_folder_of_another_model_or_a_foreign_class_is_refused(tmp_path):
    model = METHODS[0].primary_class(EXAMPLES["asm_loc"].config())
    model.save_pretrained(tmp_path)
    transformers.ViTImageProcessor().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="comes from transformers"):
        export_code(model, tmp_path, [transformers.ViTImageProcessor()])
    with pytest.raises(ValueError, match="is no processor"):
        export_code(model, tmp_path, ["a processor"])
    transformers.ViTConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is not that of AsmLoc"):
        export_code(model, tmp_path)


# -- opening in other processes


@pytest.fixture(scope="module")
def toy_processors(tmp_path_factory):
    """Image, video and composed processors that pretend to be of the package, saved and exported with a model."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "processing_toy.py").write_text(TOY_PROCESSORS)
    from hf_vidmodels import processing

    processing.__path__.append(str(folder))
    try:
        from hf_vidmodels.processing.processing_toy import ToyImageProcessor, ToyProcessor, ToyVideoProcessor

        frames = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)
        jobs = []
        for processor, auto_class, source, output in (
            (ToyImageProcessor(), "AutoImageProcessor", frames[0], "pixel_values"),
            (ToyVideoProcessor(), "AutoVideoProcessor", frames, "pixel_values_videos"),
            (ToyProcessor(transformers.VideoMAEVideoProcessor()), "AutoProcessor", frames, "pixel_values"),
        ):
            name = type(processor).__name__
            model = METHODS[0].primary_class(EXAMPLES["asm_loc"].config())
            model.save_pretrained(folder / name)
            processor.save_pretrained(folder / name)
            export_code(model, folder / name, [processor])
            paths = {"input": str(folder / f"{name}-input.npy"), "expected": str(folder / f"{name}-output.npy")}
            np.save(paths["input"], source)
            np.save(paths["expected"], processor(source, return_tensors="np")[output])
            jobs.append(
                {
                    "kind": "processor",
                    "folder": str(folder / name),
                    "auto_class": auto_class,
                    "output": output,
                    **paths,
                }
            )
            type(processor).from_pretrained(folder / name).save_pretrained(folder / f"{name}-by-package")
        yield jobs
    finally:
        processing.__path__.remove(str(folder))


def open_in_new_process(way, checkpoints, more_jobs, folder):
    """Open all checkpoints in a fresh process; give its jobs, what came of each, and what it printed."""
    jobs = []
    for checkpoint in checkpoints:
        jobs += checkpoint.jobs(checkpoint.folder, folder / f"{checkpoint.method.stem}-again")
    jobs += [{**job, "again": str(folder / Path(job["folder"]).name)} for job in more_jobs]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    process = subprocess.run(
        [sys.executable, "-I", str(OPENER), way, str(folder / "jobs.json"), str(folder / "results.json")],
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1", "PATH": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr
    return jobs, json.loads((folder / "results.json").read_text()), process.stdout


@pytest.fixture(scope="module")
def opened_without_package(checkpoints, toy_processors, tmp_path_factory):
    return open_in_new_process("remote", checkpoints, toy_processors, tmp_path_factory.mktemp("remote"))


@pytest.fixture(scope="module")
def opened_with_package(checkpoints, tmp_path_factory):
    return open_in_new_process("package", checkpoints, [], tmp_path_factory.mktemp("package"))


def test_models_and_processors_open_without_the_package_and_answer_bit_for_bit(opened_without_package):
    _, results, _ = opened_without_package
    found = [result for results_of_job in results for result in results_of_job]
    assert all(result["equal"] for result in found)
    assert {result["module"].split(".")[0] for result in found} == {"transformers_modules"}


def test_models_and_processors_open_with_the_package_and_answer_bit_for_bit(opened_with_package):
    _, results, _ = opened_with_package
    found = [result for results_of_job in results for result in results_of_job]
    assert all(result["equal"] for result in found)
    assert {result["module"].split(".")[0] for result in found} == {"hf_vidmodels"}


def test_nobody_is_asked_about_custom_code(opened_with_package, opened_without_package):
    assert "custom code" not in opened_with_package[2] + opened_without_package[2]


def test_saving_again_without_the_package_keeps_code_and_auto_map(opened_without_package):
    for job in opened_without_package[0]:
        folder = Path(job["again"])
        for part in ("model", "config") if job["kind"] == "model" else ("",):
            assert_same_auto_map_and_code(Path(job["folder"]), folder / part, whole=part != "config")


def assert_same_auto_map_and_code(original, saved_again, whole):
    for path in saved_again.glob("*config.json"):
        auto_map = json.loads(path.read_text())["auto_map"]
        assert auto_map == json.loads((original / path.name).read_text())["auto_map"]
        # A configuration saved alone brings its own code; the model's comes with the model.
        for name, reference in auto_map.items():
            if whole or name == "AutoConfig":
                assert (saved_again / f"{reference.split('.')[0]}.py").is_file()
    for path in saved_again.glob("*.py"):
        assert path.read_bytes() == (original / path.name).read_bytes()


@pytest.mark.parametrize("part", ["model", "config", "processor"])
def test_saving_again_with_the_package_leaves_neither_code_nor_auto_map(opened_with_package, part):
    for job in opened_with_package[0]:
        if job["kind"] == "model":
            assert_neither_auto_map_nor_code(Path(job["again"]) / part)


def test_processors_of_all_kinds_saved_again_with_the_package_leave_neither_code_nor_auto_map(toy_processors):
    for job in toy_processors:
        assert_neither_auto_map_nor_code(Path(job["folder"] + "-by-package"))


def assert_neither_auto_map_nor_code(folder):
    saved = list(folder.glob("*config.json"))
    assert saved
    assert not list(folder.rglob("*.py"))
    assert not [path for path in saved if "auto_map" in path.read_text()]
