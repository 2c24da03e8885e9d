from dataclasses import fields

import pytest

from hf_vidmodels.training.arguments import TrainingArguments


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"warmup_ratio": 0.1, "warmup_steps": 5, "lr_scheduler_type": "cosine"}, "exclude each other"),
        ({"warmup_steps": 5}, "choose constant_with_warmup"),
        ({"min_lr_rate": 0.1, "lr_scheduler_type": "cosine"}, "cosine_with_min_lr need each other"),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "cosine_with_min_lr need each other"),
        ({"sgd_nesterov": True}, "needs optim sgd"),
        ({"eval_epochs": 2}, "eval_epochs 2 needs eval_strategy epoch, not end"),
        ({"load_best_model_at_end": True}, "needs eval_strategy epoch"),
        ({"eval_steps": 5}, "eval_steps and eval_strategy steps need each other"),
        ({"eval_strategy": "steps"}, "eval_steps and eval_strategy steps need each other"),
        ({"save_steps": 5}, "save_strategy steps need each other"),
        ({"save_strategy": "steps"}, "save_strategy steps need each other"),
        ({"save_epochs": 5, "save_strategy": "no"}, "save_epochs 5 needs save_strategy epoch, not no"),
        ({"push_to_hub": True}, "needs hub_model_id"),
        ({"push_to_hub": True, "hub_model_id": "me/x", "eval_strategy": "no"}, "needs an evaluation"),
        ({"hub_model_id": "me/x"}, "need push_to_hub"),
        ({"overwrite_output_dir": True, "resume_from_checkpoint": "last"}, "exclude each other"),
    ],
)
def test_contradictions_are_errors(fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        TrainingArguments(**fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_train_epochs", 0),
        ("per_device_train_batch_size", 0),
        ("gradient_accumulation_steps", 0),
        ("learning_rate", -0.1),
        ("seed", -1),
        ("adam_beta1", 1.0),
        ("adam_epsilon", 0.0),
        ("warmup_ratio", 1.5),
        ("max_steps", 0),
        ("ema_decay", 1.0),
        ("save_total_limit", 0),
        ("report_to", ["tensorbord"]),
    ],
)
def test_values_outside_their_range_are_errors_that_name_field_and_value(name, value):
    with pytest.raises(ValueError) as caught:
        TrainingArguments(**{name: value})
    assert str(caught.value).startswith(name) and repr(value) in str(caught.value)


def test_every_field_is_explained():
    for item in fields(TrainingArguments):
        assert len(item.metadata["help"].split()) >= 3 and item.metadata["help"].endswith("."), item.name


def test_fields_that_change_nothing_in_the_weights_may_change_when_a_run_goes_on():
    names = TrainingArguments().result_fields()
    assert {"learning_rate", "seed", "num_train_epochs", "ema_decay"} <= names.keys()
    assert not {"output_dir", "dataloader_num_workers", "save_steps", "logging_steps", "hub_model_id"} & names.keys()
