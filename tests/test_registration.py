"""Methods and tasks are known to transformers whichever is imported first, and importing the package loads nothing."""

import subprocess
import sys

import pytest

from hf_vidmodels.methods import METHODS
from hf_vidmodels.table_entries import enter_config
from script_runs import environment

IS_KNOWN = """
import transformers
from transformers.pipelines import PIPELINE_REGISTRY
from hf_vidmodels.auto import task_classes
from hf_vidmodels.methods import METHODS
from hf_vidmodels.tasks import TASKS, resolve

for method in METHODS:
    config_class = transformers.CONFIG_MAPPING[method.model_type]
    assert config_class is method.config_class and config_class.model_type == method.model_type
    found = transformers.AutoModel._model_mapping[config_class]
    assert (found[0] if isinstance(found, tuple) else found) is method.primary_class
    for auto_class, model_class in task_classes(method).items():
        assert auto_class._model_mapping[config_class] is model_class
for task in TASKS.values():
    if task.pipeline:
        known = PIPELINE_REGISTRY.check_task(task.name)[1]["impl"]
        # Some releases of transformers keep the name of a class in its place.
        assert known in (resolve(task.pipeline), "hf_vidmodels" + task.pipeline.replace(":", ".")), known
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
assert all(method.config_class in PROCESSOR_MAPPING for method in METHODS)
"""


def run(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    "first",
    [
        # It imports the tables of models halfway through, when models cannot be imported yet.
        "import hf_vidmodels\nimport transformers.modeling_layers",
        "from transformers import AutoModel, AutoVideoProcessor, pipeline\nimport hf_vidmodels",
        "import hf_vidmodels.pipelines.mask_labeling",
        "import hf_vidmodels\nfrom transformers import AutoVideoProcessor, AutoFeatureExtractor",
    ],
)
def test_every_method_and_pipeline_is_known_whichever_is_imported_first(first):
    run(first + IS_KNOWN)


def test_importing_the_package_loads_no_library():
    loaded = run(
        "import sys, hf_vidmodels\nprint([m for m in ('torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    assert loaded == "[]\n"


def test_a_model_type_that_transformers_has_is_refused():
    with pytest.raises(ValueError, match="model_type 'asm_loc' of AsmLocConfig is taken"):
        enter_config(METHODS[0])


def test_a_name_that_the_package_lacks_is_no_attribute():
    import hf_vidmodels

    with pytest.raises(AttributeError, match="module 'hf_vidmodels' has no attribute 'Mal'"):
        hf_vidmodels.Mal  # noqa: B018
    assert set(hf_vidmodels.__all__) <= set(dir(hf_vidmodels))
    assert all(getattr(hf_vidmodels, name) is not None for name in hf_vidmodels.__all__)
