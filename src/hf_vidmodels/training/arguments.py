"""The arguments of a training run: one dataclass, whose field descriptions are the help text of `hf-vidmodels train`.

Names and meanings follow `transformers.TrainingArguments` where that has the same thing. A method derives its own
dataclass and adds its fields with `argument`.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from .sections import MODEL, PRESET, PROCESSOR, check_section, refuse_fields_of_others

if TYPE_CHECKING:
    from ..configuration.configuration_base import VidModelsConfig

TRACKERS = ("tensorboard", "trackio", "wandb")
# Courses of the learning rate that every recipe knows; a recipe with one of its own puts it before them.
CommonSchedule = Literal[
    "constant",
    "constant_with_warmup",
    "linear",
    "cosine",
    "cosine_with_min_lr",
    "polynomial",
    "inverse_sqrt",
    "steps",
]


def argument(default: Any, help: str, *, group: str | None = None, changes_result: bool = True) -> Any:
    """Declare a field of an arguments dataclass.

    Args:
        default: its default; a list or dict is copied for every instance.
        help: what it does, its unit and its effect, for somebody who reads `--help`.
        group: title in the help text; None for the fields of a method, which get a title of their own.
        changes_result: whether the trained weights depend on it; a resumed run must not change such a field.
    """
    metadata = {"help": help, "group": group, "changes_result": changes_result}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


_RUN, _MODEL, _DATA, _LENGTH, _OPTIMISATION = "run", "model", "data", "length and precision", "optimisation"
_EVALUATION, _CHECKPOINTS, _LOGGING, _HUB = "evaluation", "checkpoints", "logging", "sharing on the Hub"


@dataclass
class TrainingArguments:
    """What every recipe takes; `--help` shows the same descriptions.

    Class attributes:
        sections: the classes that the sections `model` and `processor` set up, where the method has such sections.
        default_preset: preset of the configuration where none is given.

    Raises:
        ValueError: on construction, when a value is out of range or two fields contradict each other.
    """

    sections: ClassVar[dict[str, type]] = {}
    default_preset: ClassVar[str | None] = None

    recipe: str = argument(
        "",
        "Recipe to train: a name such as asm_loc/embedded, or the path of a YAML file that holds any of the fields "
        "listed here. What is given on the command line wins over the file.",
        group=_RUN,
        changes_result=False,
    )
    output_dir: str = argument(
        "",
        "Folder of the run, made when missing. In the end it is a complete Hub repository: weights, configuration, "
        "processor, model card, metrics, loss curve. It must be empty, unless one of the next two options is given.",
        group=_RUN,
        changes_result=False,
    )
    overwrite_output_dir: bool = argument(
        False,
        "Delete what an earlier run left in output_dir (its checkpoints included) and start afresh. Files that no run "
        "writes are kept.",
        group=_RUN,
        changes_result=False,
    )
    resume_from_checkpoint: str | None = argument(
        None,
        "Go on from a checkpoint: its folder, or 'last' for the newest complete one in output_dir (from the beginning "
        "when there is none yet, so that a job which may be killed can always pass it). The final weights are those "
        "of a run that was never interrupted.",
        group=_RUN,
        changes_result=False,
    )
    seed: int = argument(
        42,
        "Seed of everything random. Equal seeds, arguments and number of processes give equal weights, whatever the "
        "number of workers and however often the run was interrupted.",
        group=_RUN,
    )
    full_determinism: bool = argument(
        False,
        "Allow only operations that repeat bit by bit on a GPU (slower; an operation without such a form is an "
        "error). On a CPU runs repeat without it.",
        group=_RUN,
    )

    model: dict[str, Any] = argument(
        {},
        "Fields of the model's configuration and the preset that they change, on the command line one by one: "
        "--model.preset NAME, --model.FIELD VALUE, --model.backbone.FIELD VALUE for a network inside it. What is not "
        "given is the preset's. With a recipe this help lists them.",
        group=_MODEL,
    )
    processor: dict[str, Any] = argument(
        {},
        "The same for the processor: --processor.FIELD VALUE. What is not given is the method's published protocol.",
        group=_MODEL,
    )

    dataset_name: str = argument(
        "",
        "Corpus: an embedded one (embedded/untrimmed), a published layout (thumos14, activitynet, ...; with "
        "data_dir), a Hub data set, or a folder of your own. hf-vidmodels check tells whether it fits.",
        group=_DATA,
    )
    data_dir: str | None = argument(
        None,
        "Folder of the corpus's files, for corpora that are not downloaded or generated.",
        group=_DATA,
        changes_result=False,
    )
    per_device_train_batch_size: int = argument(
        8, "Samples in a training batch of one process. The learning rate is never scaled with it.", group=_DATA
    )
    per_device_eval_batch_size: int = argument(
        8, "Samples in an evaluation batch of one process.", group=_DATA, changes_result=False
    )
    dataloader_num_workers: int = argument(
        0,
        "Processes that load data for each training process; 0 loads in the training process itself. Has no effect on "
        "the result.",
        group=_DATA,
        changes_result=False,
    )
    dataloader_drop_last: bool = argument(
        False, "Leave out the last batch of an epoch when it is smaller than the others.", group=_DATA
    )

    num_train_epochs: int = argument(
        10,
        "Times that every stage visits its training data; a recipe file may give a stage its own number in stages.",
        group=_LENGTH,
    )
    stages: list[dict[str, Any]] | None = argument(
        None,
        "In recipe files only: a list with the name of a stage and the fields that have values of its own there, such "
        "as num_train_epochs, optim, learning_rate; continues: false begins a stage anew that would go on with "
        "optimizer and schedule of the stage before. What is given on the command line holds in every stage. none: "
        "without the file's list.",
        group=_LENGTH,
        changes_result=False,
    )
    max_steps: int = argument(
        -1,
        "Stop every stage after this many optimiser steps at the latest, for a quick trial; the schedule is squeezed "
        "into them. -1: no limit.",
        group=_LENGTH,
    )
    gradient_accumulation_steps: int = argument(
        1,
        "Batches whose gradients are averaged before one optimiser step, to train with a batch that does not fit into "
        "memory.",
        group=_LENGTH,
    )
    mixed_precision: Literal["no", "fp16", "bf16"] | None = argument(
        None,
        "Arithmetic of the forward pass. Not given: what accelerate launch was told. fp16 needs a GPU.",
        group=_LENGTH,
    )

    optim: Literal["adamw", "adam", "sgd"] = argument(
        "adamw",
        "Optimiser. adamw decays the weights apart from the gradient, adam adds the decay to the gradient (L2), sgd "
        "has momentum.",
        group=_OPTIMISATION,
    )
    learning_rate: float = argument(1e-4, "Peak learning rate.", group=_OPTIMISATION)
    weight_decay: float = argument(0.0, "Weight decay of all parameter groups that set none.", group=_OPTIMISATION)
    adam_beta1: float = argument(0.9, "Adam's decay of the gradient's mean.", group=_OPTIMISATION)
    adam_beta2: float = argument(0.999, "Adam's decay of the squared gradient's mean.", group=_OPTIMISATION)
    adam_epsilon: float = argument(1e-8, "Adam's guard against division by zero.", group=_OPTIMISATION)
    sgd_momentum: float = argument(0.9, "Momentum of sgd.", group=_OPTIMISATION)
    sgd_nesterov: bool = argument(False, "Use Nesterov's momentum with sgd.", group=_OPTIMISATION)
    max_grad_norm: float = argument(
        0.0, "Scale gradients down to this norm over all parameters; 0: do not clip.", group=_OPTIMISATION
    )
    lr_scheduler_type: CommonSchedule = argument(
        "constant",
        "Course of the learning rate over the steps of a stage. All but constant may begin with a warm-up.",
        group=_OPTIMISATION,
    )
    lr_decay_at: list[float] = argument(
        [],
        "With lr_scheduler_type steps: shares of a stage's steps, ascending, at each of which the rate falls. Epochs "
        "20 and 40 of 50 are 0.4 0.8.",
        group=_OPTIMISATION,
    )
    lr_decay_factor: float = argument(
        0.1, "With lr_scheduler_type steps: what the rate is multiplied by each time.", group=_OPTIMISATION
    )
    warmup_ratio: float = argument(
        0.0, "Share of a stage's steps in which the rate rises from 0 to its peak.", group=_OPTIMISATION
    )
    warmup_steps: int = argument(0, "The same as a number of steps; give one of the two.", group=_OPTIMISATION)
    min_lr_rate: float = argument(
        0.0, "Final rate of cosine_with_min_lr, as a fraction of the peak.", group=_OPTIMISATION
    )
    ema_decay: float | None = argument(
        None,
        "Keep an exponential moving average of the weights with this decay (such as 0.999), and evaluate and save the "
        "average instead of the last weights. Not given: no average.",
        group=_OPTIMISATION,
    )

    eval_strategy: Literal["no", "end", "epoch", "steps"] = argument(
        "end",
        "When to evaluate: never (then there is no card with results), at the end of the run, or also after epochs or "
        "steps and at the end of each stage.",
        group=_EVALUATION,
    )
    eval_split: str | None = argument(
        None, "Split to evaluate on; by default the first that is not 'train'.", group=_EVALUATION
    )
    eval_epochs: int = argument(
        1, "With eval_strategy epoch: evaluate after every so many epochs of a stage.", group=_EVALUATION
    )
    eval_steps: int = argument(
        0,
        "With eval_strategy steps: evaluate after every so many optimiser steps of a stage.",
        group=_EVALUATION,
    )
    load_best_model_at_end: bool = argument(
        False,
        "Save the weights of the best evaluation in the last stage instead of the last ones. Honest only when the "
        "evaluation data are not the test data; therefore off.",
        group=_EVALUATION,
    )

    save_strategy: Literal["no", "epoch", "steps"] = argument(
        "epoch",
        "When to write resumable checkpoints into output_dir/checkpoints, besides the end of each stage. no: never, "
        "unless the run is told to stop by Ctrl-C or SIGTERM.",
        group=_CHECKPOINTS,
        changes_result=False,
    )
    save_epochs: int = argument(
        1,
        "With save_strategy epoch: after every so many epochs of a stage.",
        group=_CHECKPOINTS,
        changes_result=False,
    )
    save_steps: int = argument(
        0,
        "With save_strategy steps: after every so many optimiser steps of a stage.",
        group=_CHECKPOINTS,
        changes_result=False,
    )
    save_total_limit: int | None = argument(
        2,
        "Checkpoints to keep; older ones are deleted. The best weights (load_best_model_at_end) do not count. none: "
        "keep all.",
        group=_CHECKPOINTS,
        changes_result=False,
    )

    logging_steps: int = argument(
        10,
        "Optimiser steps between two lines of training_log.jsonl, which hold means over these steps. A loss that is "
        "not a number is noticed here.",
        group=_LOGGING,
        changes_result=False,
    )
    report_to: list[str] = argument(
        [],
        "Trackers that get the same numbers: any of tensorboard, trackio, wandb (none: no tracker). Tensorboard files "
        "lie in output_dir/runs.",
        group=_LOGGING,
        changes_result=False,
    )
    run_name: str | None = argument(
        None, "Name of the run in trackers; by default that of output_dir.", group=_LOGGING, changes_result=False
    )
    disable_tqdm: bool = argument(False, "Show no progress bar.", group=_LOGGING, changes_result=False)

    push_to_hub: bool = argument(
        False,
        "Upload the finished folder (without checkpoints). Log in before with `hf auth login` or set HF_TOKEN; a "
        "token is never an argument, so that it is never written down.",
        group=_HUB,
        changes_result=False,
    )
    hub_model_id: str | None = argument(
        None, "Repository to upload to, such as your-name/asm-loc-digits.", group=_HUB, changes_result=False
    )
    hub_private_repo: bool = argument(
        False, "Make that repository private when it is made.", group=_HUB, changes_result=False
    )

    def __post_init__(self) -> None:
        """Check sections, ranges and contradictions."""
        preset = {} if self.default_preset is None else {PRESET: self.default_preset}
        self.model = preset | self.check_section(MODEL, self.model)
        self.processor = self.check_section(PROCESSOR, self.processor)
        self.report_to = [name for name in self.report_to if name != "none"]
        self.check_ranges()
        self.check_contradictions()

    def check_ranges(self) -> None:
        """Raise ValueError for a number outside its range or an unknown tracker; methods extend it."""
        for name in (
            "num_train_epochs",
            "per_device_train_batch_size",
            "per_device_eval_batch_size",
            "gradient_accumulation_steps",
            "eval_epochs",
            "save_epochs",
            "logging_steps",
        ):
            self.require(getattr(self, name) >= 1, name, "must be at least 1")
        for name in (
            "seed",
            "dataloader_num_workers",
            "learning_rate",
            "weight_decay",
            "max_grad_norm",
            "warmup_steps",
            "eval_steps",
            "save_steps",
        ):
            self.require(getattr(self, name) >= 0, name, "must not be negative")
        for name in ("adam_beta1", "adam_beta2", "sgd_momentum", "min_lr_rate"):
            self.require(0 <= getattr(self, name) < 1, name, "must be at least 0 and below 1")
        self.require(self.adam_epsilon > 0, "adam_epsilon", "must be positive")
        self.require(0 <= self.warmup_ratio <= 1, "warmup_ratio", "must be in [0, 1]")
        shares = [0.0, *self.lr_decay_at, 1.0]
        self.require(
            all(before < after for before, after in zip(shares, shares[1:], strict=False)),
            "lr_decay_at",
            "must be ascending shares between 0 and 1",
        )
        self.require(0 < self.lr_decay_factor < 1, "lr_decay_factor", "must be between 0 and 1")
        self.require(
            self.max_steps == -1 or self.max_steps >= 1, "max_steps", "must be at least 1, or -1 for no limit"
        )
        self.require(self.ema_decay is None or 0 < self.ema_decay < 1, "ema_decay", "must be between 0 and 1")
        self.require(
            self.save_total_limit is None or self.save_total_limit >= 1,
            "save_total_limit",
            "must be at least 1, or none",
        )
        for tracker in self.report_to:
            self.require(tracker in TRACKERS, "report_to", f"knows {', '.join(TRACKERS)} and none")

    def check_contradictions(self) -> None:
        """Raise ValueError for fields that exclude or need each other; methods extend it."""
        warms_up = bool(self.warmup_ratio or self.warmup_steps)
        for wrong, sentence in (
            (
                self.resume_from_checkpoint and self.overwrite_output_dir,
                "resume_from_checkpoint and overwrite_output_dir exclude each other: go on, or start afresh.",
            ),
            (self.warmup_ratio and self.warmup_steps, "warmup_ratio and warmup_steps exclude each other: give one."),
            (
                warms_up and self.lr_scheduler_type == "constant",
                "warmup_ratio and warmup_steps contradict lr_scheduler_type constant: choose constant_with_warmup.",
            ),
            (
                bool(self.lr_decay_at) != (self.lr_scheduler_type == "steps"),
                "lr_decay_at and lr_scheduler_type steps need each other: give both or neither.",
            ),
            (
                bool(self.min_lr_rate) != (self.lr_scheduler_type == "cosine_with_min_lr"),
                "min_lr_rate and lr_scheduler_type cosine_with_min_lr need each other: give both or neither.",
            ),
            (
                self.sgd_nesterov and (self.optim != "sgd" or self.sgd_momentum == 0),
                "sgd_nesterov needs optim sgd with sgd_momentum above 0.",
            ),
            (
                self.eval_epochs != 1 and self.eval_strategy != "epoch",
                f"eval_epochs {self.eval_epochs} needs eval_strategy epoch, not {self.eval_strategy}; leave it at 1.",
            ),
            (
                bool(self.eval_steps) != (self.eval_strategy == "steps"),
                "eval_steps and eval_strategy steps need each other: give both or neither.",
            ),
            (
                self.load_best_model_at_end and self.eval_strategy not in ("epoch", "steps"),
                f"load_best_model_at_end needs eval_strategy epoch or steps, not {self.eval_strategy}.",
            ),
            (
                bool(self.save_steps) != (self.save_strategy == "steps"),
                "save_steps and save_strategy steps need each other: give both or neither.",
            ),
            (
                self.save_epochs != 1 and self.save_strategy != "epoch",
                f"save_epochs {self.save_epochs} needs save_strategy epoch, not {self.save_strategy}; leave it at 1.",
            ),
            (
                self.push_to_hub and not self.hub_model_id,
                "push_to_hub needs hub_model_id, the repository to upload to.",
            ),
            (
                self.push_to_hub and self.eval_strategy == "no",
                "push_to_hub needs an evaluation for the model card: choose eval_strategy end or epoch.",
            ),
            (
                (self.hub_model_id or self.hub_private_repo) and not self.push_to_hub,
                "hub_model_id and hub_private_repo need push_to_hub, or nothing would be uploaded.",
            ),
        ):
            if wrong:
                raise ValueError(sentence)

    @classmethod
    def check_section(cls, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return a section with checked names and values.

        Raises:
            ValueError: for a section that the method does not have, an unknown field or a value of the wrong type.
        """
        if not isinstance(given, Mapping):
            raise ValueError(f"{name} takes a mapping of fields, but it is {given!r}.")
        if name in cls.sections:
            return check_section(name, given, cls.sections[name])
        if given:
            raise ValueError(f"The method has no section {name}, but {name}.{next(iter(given))} is given.")
        return {}

    @property
    def model_settings(self) -> dict[str, Any]:
        """The section `model` without the preset: fields of the configuration, nested as it is."""
        return {name: value for name, value in self.model.items() if name != PRESET}

    def model_config(self, class_names: Sequence[str] | None = None, **decided: Any) -> "VidModelsConfig":
        """Make the model's configuration.

        Args:
            class_names: classes in the order of their ids, where the model knows classes.
            decided: fields that follow from the data.

        Raises:
            ValueError: for fields that contradict each other or the data.
        """
        config_class, given = self.sections[MODEL], self.model_settings
        for name in decided.keys() & given.keys():
            if given[name] != decided[name]:
                raise ValueError(
                    f"model.{name} is {given[name]!r}, but the data have {decided[name]!r}; leave the field out."
                )
        if class_names is not None:
            decided["id2label"] = dict(enumerate(class_names))
            decided["label2id"] = {name: index for index, name in enumerate(class_names)}
            decided["num_labels"] = len(class_names)
        settings = config_class.merged(given, decided)
        preset = self.model.get(PRESET)
        config = config_class(**settings) if preset is None else config_class.from_preset(preset, **settings)
        refuse_fields_of_others(given, config)
        return config

    def require(self, holds: bool, name: str, rule: str) -> None:
        """Raise ValueError saying that field `name` breaks `rule`, with its value, unless the rule holds."""
        if not holds:
            raise ValueError(f"{name} {rule}, but it is {getattr(self, name)!r}.")

    def result_fields(self) -> dict[str, Any]:
        """Return the fields that the trained weights depend on, by name."""
        return {
            item.name: getattr(self, item.name) for item in fields(self) if item.metadata.get("changes_result", True)
        }
