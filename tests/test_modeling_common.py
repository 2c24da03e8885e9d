"""What holds for the model of every method in `auto.METHODS`."""

import subprocess
import sys
from dataclasses import fields
from inspect import signature

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoProcessor, Trainer, TrainingArguments

from hf_vidmodels.auto import METHODS, task_classes
from method_examples import EXAMPLES

HEAVY_MODULES = ("datasets", "evaluate", "matplotlib", "pycocotools", "gradio", "cv2", "h5py", "av", "sklearn")


@pytest.fixture(params=METHODS, ids=lambda method: method.stem)
def method(request):
    return request.param


@pytest.fixture
def example(method):
    return EXAMPLES[method.stem]


@pytest.fixture
def model(method, example):
    torch.manual_seed(0)
    return method.primary_class(example.config())


def test_the_row_of_a_method_says_the_model_type_of_its_configuration(method):
    assert method.config_class.model_type == method.model_type


def test_logits_have_the_documented_shape_and_come_as_tuple_too(model, example):
    model.eval()
    with torch.no_grad():
        output = model(**example.batch())
        as_tuple = model(**example.batch(), return_dict=False)
    assert output.logits.shape == example.logits_shape
    assert list(output)[0] == "loss"
    torch.testing.assert_close(as_tuple[0], output.loss)


def test_the_configuration_says_what_else_is_given(model, example):
    batch = {key: value for key, value in example.batch().items() if "labels" not in key}
    model.eval()
    model.config.return_dict = False
    assert isinstance(model(**batch), tuple)
    assert not isinstance(model(**batch, return_dict=True), tuple)
    if "output_hidden_states" in signature(model.forward).parameters:
        model.config.output_hidden_states = True
        assert model(**batch, return_dict=True).hidden_states is not None
        assert model(**batch, return_dict=True, output_hidden_states=False).hidden_states is None


def test_pixels_that_no_processor_has_seen_are_refused(model, example, method):
    batch = {key: value for key, value in example.batch().items() if "labels" not in key}
    if method.stem == "l2_caf" or "pixel_values" not in batch:
        pytest.skip("whole numbers are up to the network that is looked at, or there are no pixels")
    batch["pixel_values"] = batch["pixel_values"].to(torch.uint8)
    with pytest.raises(ValueError, match=r"pixel_values must be normalised floating-point numbers, got torch\.uint8"):
        model.eval()(**batch)


def test_the_loss_is_finite_and_reaches_every_parameter(model, example):
    model.train()
    # Zero-initialised norms hide what lies behind them from the gradient: look at a model that has left its start.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    loss = model(**example.batch()).loss
    assert torch.isfinite(loss)
    loss.backward()
    without = {
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    }
    unexpected = {name for name in without if not name.startswith(example.frozen_in_batch)}
    # A bias that is the same for all keys of a softmax changes nothing.
    assert {name for name in unexpected if not name.endswith("key.bias")} == set()


def test_saving_and_loading_keeps_outputs_parameters_and_buffers_bit_by_bit(model, example, method, tmp_path):
    model.eval().save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path).eval()
    assert type(loaded) is method.primary_class
    assert not list(tmp_path.glob("*.bin"))
    for (name, ours), (_, theirs) in zip(model.named_buffers(), loaded.named_buffers(), strict=True):
        assert torch.equal(ours, theirs), name
    with torch.no_grad():
        assert torch.equal(model(**example.batch()).logits, loaded(**example.batch()).logits)


def test_every_auto_class_gives_the_registered_model(model, method, tmp_path):
    model.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is method.config_class
    for auto_class, model_class in task_classes(method).items():
        assert type(auto_class.from_pretrained(tmp_path)) is model_class


def test_the_processor_comes_back_from_its_own_and_the_general_auto_class(method, example, tmp_path):
    example.config().save_pretrained(tmp_path)
    method.processor_class.from_config(example.config()).save_pretrained(tmp_path)
    for auto_class in (method.processor_auto_class, AutoProcessor):
        loaded = auto_class.from_pretrained(tmp_path)
        assert type(loaded) is method.processor_class
        assert loaded.to_dict() == method.processor_class.from_pretrained(tmp_path).to_dict()


def test_trainer_hands_only_the_logits_to_the_metrics(model, example, tmp_path):
    if "labels" not in example.batch():
        pytest.skip("its losses take no labels")
    batch = example.batch()
    rows = [{name: values[row] for name, values in batch.items() if name != "step"} for row in range(2)]
    seen = {}

    # As in transformers' documentation of Trainer.
    def compute_metrics(eval_pred):
        logits, labels = eval_pred
        seen["shape"] = logits.shape
        predictions = np.argmax(logits, axis=-1)
        return {"mean": float(np.mean(predictions)), "labels": len(labels)}

    arguments = TrainingArguments(
        output_dir=tmp_path, per_device_eval_batch_size=2, report_to=[], use_cpu=True, disable_tqdm=True
    )
    found = Trainer(model, arguments, eval_dataset=rows, compute_metrics=compute_metrics).evaluate()
    assert seen["shape"] == (2, *example.logits_shape[1:]) and found["eval_labels"] == 2


def test_no_output_but_loss_and_logits_is_left_for_metrics(model, example, method):
    model.eval()
    with torch.no_grad():
        names = {field.name for field in fields(model(**example.batch()))}
    assert names - {"loss", "logits"} == set(method.config_class.keys_to_ignore_at_inference)


def test_there_is_no_table_of_input_embeddings(model):
    assert model.get_input_embeddings() is None


def test_initialisation_follows_the_seed(method, example):
    def weights():
        torch.manual_seed(7)
        return method.primary_class(example.config()).state_dict()

    first, second = weights(), weights()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_number_of_classes_starts_a_new_head(model, example, method, tmp_path):
    if not example.has_classes:
        pytest.skip(f"{method.stem} knows no classes")
    model.save_pretrained(tmp_path)
    id2label = {index: f"class {index}" for index in range(model.config.num_labels + 4)}
    resized = method.primary_class.from_pretrained(tmp_path, id2label=id2label, ignore_mismatched_sizes=True)
    assert resized.config.num_labels == len(id2label)
    batch = {key: value for key, value in example.batch().items() if "labels" not in key}
    with torch.no_grad():
        logits = resized.eval()(**batch).logits
    assert logits.shape[-1] == example.logits_shape[-1] + 4
    assert torch.isfinite(logits).all()


def test_bfloat16_logits_stay_near_those_of_float32(model, example):
    model.eval()
    batch = {key: value for key, value in example.batch().items() if "labels" not in key}
    with torch.no_grad():
        expected = model(**batch).logits
        half = {
            key: value.bfloat16() if torch.is_tensor(value) and value.is_floating_point() else value
            for key, value in batch.items()
        }
        answer = model.bfloat16()(**half).logits
    assert answer.dtype == torch.bfloat16
    torch.testing.assert_close(answer.float(), expected, atol=0.05, rtol=0.05)


def test_the_graph_can_be_captured(model, example):
    batch = {key: value for key, value in example.batch().items() if "labels" not in key}
    model.eval()
    with torch.no_grad():
        compiled = torch.compile(model, backend="eager")(**batch).logits
        torch.testing.assert_close(compiled, model(**batch).logits)


def test_every_configuration_and_preset_survives_json(method, tmp_path):
    for name in method.config_class.presets:
        config = method.config_class.from_preset(name)
        config.save_pretrained(tmp_path / name)
        ours, theirs = config.to_dict(), method.config_class.from_pretrained(tmp_path / name).to_dict()
        assert {key for key in ours if ours[key] != theirs[key]} <= {"transformers_version", "_name_or_path"}
    with pytest.raises(ValueError, match="has no preset 'nothing'; there are: "):
        method.config_class.from_preset("nothing")


def test_an_unknown_field_is_named_with_the_nearest_one(example, caplog):
    example.config(num_labelz=3)
    assert "has no field 'num_labelz', it is kept but has no effect; did you mean 'num_labels'?" in caplog.text


def test_importing_the_package_loads_nothing_heavy():
    program = (
        "import sys\n"
        "from transformers import AutoModel, PreTrainedModel\n"
        "before = set(sys.modules)\n"
        "import hf_vidmodels\n"
        f"heavy = [name for name in {HEAVY_MODULES!r} if name in sys.modules and name not in before]\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
