"""The stages of a run: which ones a method has, what a recipe file says of them, and the arguments that each has.

In a recipe file `stages` is a list of mappings: the `name` of a stage, `continues`, and fields as on the command line
whose values hold in that stage alone:

    stages:
    - name: full
      num_train_epochs: 10
      learning_rate: 0.001
    - name: selection
      num_train_epochs: 20
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .arguments import TrainingArguments

# What belongs to the optimizer, its schedule and the average, which a stage that continues keeps.
OPTIMIZER_FIELDS = (
    "optim",
    "learning_rate",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "sgd_momentum",
    "sgd_nesterov",
    "lr_scheduler_type",
    "warmup_ratio",
    "warmup_steps",
    "min_lr_rate",
    "ema_decay",
)
STAGE_FIELDS = (
    "num_train_epochs",
    "max_steps",
    "gradient_accumulation_steps",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "dataloader_num_workers",
    "dataloader_drop_last",
    *OPTIMIZER_FIELDS,
    "max_grad_norm",
    "eval_strategy",
    "eval_epochs",
    "eval_steps",
    "save_strategy",
    "save_epochs",
    "save_steps",
    "logging_steps",
)
# What an entry of `stages` may hold besides fields.
NAME, CONTINUES = "name", "continues"


@dataclass(frozen=True)
class Stage:
    """A stretch of training that a method has.

    Attributes:
        name: unique in the run and usable in file names, such as `step0` or `pretrain`.
        continues: whether it goes on with the module, optimizer, schedule and average of the stage before, unless a
            recipe file says `continues: false`; the schedule then runs over the steps of both, and what the stage
            trains on must be there when the first of them begins.
        optional: whether it takes place only when the argument `stages` lists it.
    """

    name: str
    continues: bool = False
    optional: bool = False


@dataclass(frozen=True)
class PlannedStage:
    """A stage that takes place.

    Attributes:
        name: its name.
        continues: whether it goes on with what the stage before trained with.
        args: its arguments.
        settings: those of them that the argument `stages` gives, by name.
    """

    name: str
    continues: bool
    args: TrainingArguments
    settings: Mapping[str, Any]

    def result_fields(self) -> dict[str, Any]:
        """Return what the trained weights depend on and is this stage's own, by name such as `full.learning_rate`."""
        own = {name: value for name, value in self.args.result_fields().items() if name in self.settings}
        return {f"{self.name}.{name}": value for name, value in {CONTINUES: self.continues, **own}.items()}


def plan_stages(stages: Sequence[Stage], args: TrainingArguments) -> list[PlannedStage]:
    """Return the stages that take place, each with its arguments.

    A stage has the values that its entry in `args.stages` gives, and those of `args` elsewhere; one that continues has
    the optimizer's values of the stage before.

    Raises:
        ValueError: when `args.stages` names a stage that the method does not have, names none, repeats one, or gives
            it what it cannot have.
    """
    entries = _entries_by_name(args.stages or [], stages)
    planned: list[PlannedStage] = []
    chosen = [stage for stage in stages if stage.name in entries or not stage.optional]
    for stage in chosen:
        settings = dict(entries.get(stage.name, {}))
        continues = settings.pop(CONTINUES, stage.continues)
        inherited = {}
        if continues:
            if not (stage.continues and planned):
                raise ValueError(
                    f"Stage {stage.name} cannot continue: the method begins it anew. Leave out continues: true."
                )
            inherited = {name: getattr(planned[-1].args, name) for name in OPTIMIZER_FIELDS}
            _refuse_changes(stage.name, inherited, settings)
        if stage is not chosen[-1]:
            # The best weights are chosen in the last stage alone.
            inherited["load_best_model_at_end"] = False
        try:
            own_args = replace(args, **{"stages": None, **inherited, **settings})
        except ValueError as error:
            raise ValueError(f"Stage {stage.name}: {error}") from error
        planned.append(PlannedStage(stage.name, continues, own_args, settings))
    return planned


def _entries_by_name(entries: Sequence[Mapping[str, Any]], stages: Sequence[Stage]) -> dict[str, dict[str, Any]]:
    known = [stage.name for stage in stages]
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        name = entry.get(NAME)
        if name not in known or name in found:
            wrong = "lists it twice" if name in found else "has no such stage; it has " + ", ".join(known)
            raise ValueError(f"stages names {name!r}, but the recipe {wrong}.")
        found[name] = {field: value for field, value in entry.items() if field != NAME}
    return found


def _refuse_changes(name: str, inherited: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    changed = [field for field in inherited if settings.get(field, inherited[field]) != inherited[field]]
    if changed:
        changes = ", ".join(f"{field} {inherited[field]!r} to {settings[field]!r}" for field in changed)
        raise ValueError(
            f"Stage {name} continues the stage before it and keeps its optimizer, schedule and average, but would "
            f"change {changes}: leave that out, or give continues: false."
        )
