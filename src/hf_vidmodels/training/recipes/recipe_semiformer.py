"""How Semiformer is trained: on labelled pictures first, then on these and on pictures that it labels itself.

Weng et al., ECCV 2022; schedules and constants of the official code (commit 0e3b5be). Both phases share optimizer,
schedule and average. Classes that the corpus knows of pictures without labels are used for reports alone.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, default_collate

from ...data.arrow_columns import arrow_column
from ...data.corpora import load_corpus
from ...data.labelled_subsets import (
    file_names,
    first_rows_of_classes,
    official_rows,
    read_labelled_list,
    split_by_rows,
    stratified_rows,
)
from ...data.split_names import UNLABELLED_SPLIT
from ...data.two_stream_pictures import LABELLED, TwoStreamPictures
from ...evaluation.class_scores import require_labels
from ...evaluation.evaluation import Evaluation
from ...modeling.modeling_semiformer import SemiformerForImageClassification
from ..corpus_splits import TRAIN_SPLIT, choose_eval_split
from ..recipe import Progress
from ..seeding import sample_generator
from ..stage_plan import Stage
from ..training_log import LOG_FILE
from .image_classification import ImageClassificationRecipe
from .mixed_batches import MixedBatches
from .pseudo_label_watch import PseudoLabelWatch
from .published_average import PublishedAverage
from .semiformer_arguments import BY_EPOCH, BY_STEP, SEMI_SUPERVISED, SUPERVISED, SemiformerArguments
from .semiformer_schedule import decay_groups, official_epoch, schedule_by_epochs, warmup_cosine_rate

AVERAGE_FOLDER = "averaged"


class SemiformerRecipe(ImageClassificationRecipe):
    """Trains a classifier on pictures with and without labels.

    Attributes:
        train: labelled pictures; set by `prepare_data`.
        unlabelled: pictures that are learned from without labels.
        truth_is_known: whether the corpus has the class of each of these, for reports.
        average: the published average, or None.
    """

    method = "semiformer"
    arguments_class = SemiformerArguments
    model_class = SemiformerForImageClassification
    args: SemiformerArguments

    def stages(self) -> list[Stage]:
        """Give the phases that are asked for; the second goes on with optimizer, schedule and average."""
        phases = {"both": (SUPERVISED, SEMI_SUPERVISED)}.get(self.args.phases, (self.args.phases,))
        return [Stage(name, continues=number > 0) for number, name in enumerate(phases)]

    def prepare_data(self) -> None:
        """Load the corpus and decide which pictures count as labelled.

        Raises:
            ValueError: for missing splits or labels, a corpus without pictures to learn from without labels, and
                mixing of an odd number of labelled pictures.
        """
        args = self.args
        corpus = load_corpus(args.dataset_name, data_dir=args.data_dir, task=self.task)
        parts = {name: split for name, split in corpus.items() if name != UNLABELLED_SPLIT}
        self.eval_split = choose_eval_split(args, parts)
        self.evaluation = None if self.eval_split is None else corpus[self.eval_split]
        if args.eval_strategy != "no":
            require_labels(self.evaluation, self.eval_split)
        self.multi_label, self.mixing = False, args.mixing()
        self.train, self.unlabelled = self._split(corpus[TRAIN_SPLIT], corpus.get(UNLABELLED_SPLIT))
        self.truth_is_known = not arrow_column(self.unlabelled, "label").null_count
        for stage in self.plan:
            labelled, _ = self._batch_sizes(stage.name)
            if self.mixing.is_active and labelled % 2:
                raise ValueError(
                    f"mixup_alpha and cutmix_alpha mix pairs, but a batch of stage {stage.name} has {labelled} "
                    "labelled pictures: give an even number by per_device_train_batch_size and labelled_fraction."
                )

    def _split(self, train: Any, further: Any) -> tuple[Any, Any]:
        """Give the labelled pictures, and those that are learned from without labels."""
        from datasets import concatenate_datasets

        args = self.args
        labels = arrow_column(train, "label").to_pylist()
        if args.labelled_list is not None:
            rows = read_labelled_list(args.labelled_list, train)
        elif args.labels_per_class is not None:
            rows = first_rows_of_classes(labels, args.labels_per_class)
        elif args.labelled_share is not None and args.labelled_draw == "official":
            rows = official_rows(file_names(train), args.labelled_share)
        elif args.labelled_share is not None:
            rows = stratified_rows(labels, args.labelled_share, args.label_seed)
        else:
            rows = [row for row, label in enumerate(labels) if label is not None]
        if not rows:
            raise ValueError(f"no picture of split {TRAIN_SPLIT!r} of {args.dataset_name} has a label")
        everything = train if further is None else concatenate_datasets([train, further.cast(train.features)])
        if len(rows) == len(everything) and args.phases != SUPERVISED:
            raise ValueError(
                f"every picture of {args.dataset_name} has a label and counts as labelled: say with labelled_share, "
                "labels_per_class or labelled_list which ones do, or train with phases supervised"
            )
        exclude = args.exclude_labelled and args.phases != SUPERVISED
        return split_by_rows(everything, rows, exclude=exclude)

    def _batch_sizes(self, stage_name: str) -> tuple[int, int]:
        """Give the labelled pictures and those without labels in a batch of one process."""
        args = next(stage.args for stage in self.plan if stage.name == stage_name)
        return (args.per_device_train_batch_size, 0) if stage_name == SUPERVISED else args.labelled_count()

    # -- batches

    def _batches(self, stage_index: int) -> MixedBatches:
        """Say which pictures meet in the batches of a stage."""
        labelled, unlabelled = self._batch_sizes(self.plan[stage_index].name)
        return MixedBatches(
            num_labelled=len(self.train),
            num_unlabelled=len(self.unlabelled),
            labelled_per_batch=labelled,
            unlabelled_per_batch=unlabelled,
            num_processes=self.accelerator.num_processes,
            order=self.args.sampler,
            seed=self.args.seed,
            first_epoch=sum(stage.args.num_train_epochs for stage in self.plan[:stage_index]),
            steps=self.args.steps_per_epoch,
        )

    def train_dataset(self, stage_index: int) -> TwoStreamPictures:
        """Give views of the pictures of both kinds."""
        views = self.args.picture_views(self.processor)
        generator_for = partial(sample_generator, self.args.seed)
        others = self.train if self.plan[stage_index].name == SUPERVISED else self.unlabelled
        return TwoStreamPictures(self.train, others, generator_for, views.labelled, views.strong, views.weak)

    def train_dataloader(self, stage_index: int) -> DataLoader:
        """Return the loader of mixed batches."""
        workers = self.args.dataloader_num_workers
        return DataLoader(
            self.train_dataset(stage_index),
            batch_sampler=self._batches(stage_index),
            collate_fn=self.collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Stack the pictures of each kind."""
        kinds = [[one for one in samples if (name in one)] for name in ("pixel_values", "strong_pixel_values")]
        return {name: value for kind in kinds if kind for name, value in default_collate(kind).items()}

    def sample_names(self, stage_index: int, items: Sequence[Any]) -> list[str]:
        """Name training pictures by their files."""
        pictures = self.train_dataset(stage_index)
        return [
            f"{pictures.name(stream, place)} ({'labelled' if stream == LABELLED else 'without label'})"
            for _, stream, place in items
        ]

    # -- a stage

    def start_stage(self, model: SemiformerForImageClassification, stage_index: int) -> nn.Module:
        """Train the whole model; say what an epoch is, and begin the average with the first stage."""
        self.model = model
        stage, batches = self.plan[stage_index], self._batches(stage_index)
        self.accelerator.print(self._sentence(stage.name, batches))
        if stage_index == 0:
            decay = self.args.average_decay
            self.average = None if decay is None else PublishedAverage(model, decay)
            self.watch = None
        if stage.name == SEMI_SUPERVISED:
            self.watch = PseudoLabelWatch(self.unlabelled, self.processor, self.args.num_train_epochs)
        return model

    def _sentence(self, name: str, batches: MixedBatches) -> str:
        labelled, unlabelled, processes = (
            batches.labelled_per_batch,
            batches.unlabelled_per_batch,
            batches.num_processes,
        )
        epochs = self.args.num_train_epochs
        sentence = (
            f"Stage {name}: an epoch is {batches.steps} steps of {labelled} of {len(self.train)} labelled pictures"
            + (f" and {unlabelled} of {len(self.unlabelled)} without labels" if unlabelled else "")
            + (f", on each of {processes} processes" if processes > 1 else "")
        )
        if unlabelled:
            seen = epochs * len(batches) * unlabelled
            config = self.model.config
            sentence += (
                f"; in {epochs} epochs {seen} pictures are seen without labels, each "
                f"{seen / len(self.unlabelled):.1f} times in the mean. The weights in training (no average) label "
                f"them in evaluation mode, by {config.pseudo_label_source!r} from a confidence of "
                f"{config.pseudo_label_threshold:g}"
            )
        return f"{sentence}."

    def parameter_groups(self, module: nn.Module, stage_index: int) -> list[dict[str, Any]]:
        """Part what decays from what does not."""
        return decay_groups(module)

    def make_scheduler(
        self, optimizer: Optimizer, stage_index: int, total_steps: int, steps_per_epoch: float
    ) -> LRScheduler:
        """Return the cosine over the epochs of both phases, or what is asked for."""
        args = self.args
        if args.lr_scheduler_type not in (BY_EPOCH, BY_STEP):
            return super().make_scheduler(optimizer, stage_index, total_steps, steps_per_epoch)
        lengths = [
            -(-self._batches(index).steps // stage.args.gradient_accumulation_steps)
            for index, stage in enumerate(self.plan)
            for _ in range(stage.args.num_train_epochs)
        ]

        def rate_of(finished: float) -> float:
            return warmup_cosine_rate(
                official_epoch(finished) if args.lr_scheduler_type == BY_EPOCH else finished,
                len(lengths),
                peak=args.learning_rate,
                warmup_epochs=args.warmup_epochs,
                warmup_rate=args.warmup_learning_rate,
                final_rate=args.final_learning_rate,
            )

        return schedule_by_epochs(optimizer, rate_of, lengths, total_steps)

    def on_epoch_start(self, module: nn.Module, progress: Progress) -> None:
        """Look at the pseudo-labels of a few pictures now and then."""
        if self.watch is not None and progress.batch == 0:
            self.model.eval()
            self.watch.look(self.model, progress.epoch)
            self.model.train()

    def step(
        self, module: nn.Module, batch: Any, progress: Progress
    ) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the loss of one batch, its parts, and what can be said of heads and pseudo-labels."""
        views = {name: batch[name] for name in ("strong_pixel_values", "weak_pixel_values") if name in batch}
        pictures, labels = batch["pixel_values"], batch["labels"]
        if self.mixing.is_active:
            # The library's generator was seeded for this batch.
            generator = np.random.default_rng(np.random.randint(2**31))
            pictures, labels = self.mixing(pictures, labels, self.config.num_labels, generator)
        with_consistency = progress.epoch >= self.args.consistency_start_epoch
        output = module(pixel_values=pictures, labels=labels, **views, with_consistency=with_consistency)
        return output["loss"], self._logs(output, batch)

    def _logs(self, output: Mapping[str, torch.Tensor], batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        logs = {name: value.detach() for name, value in output.items() if name.endswith("_loss")}
        for head in ("conv", "transformer"):
            if output.get(f"{head}_logits") is not None:
                right = output[f"{head}_logits"].argmax(-1) == batch["labels"]
                logs[f"{head}_accuracy"] = right.float().mean()
        if output.get("mask_ratio") is not None:
            logs["mask_ratio"] = output["mask_ratio"]
            if self.truth_is_known:
                right = (output["pseudo_labels"] == batch["truth"]).float()
                logs["pseudo_label_accuracy"] = right.mean()
                logs["kept_right"] = (right * output["pseudo_weights"]).mean()
        return logs

    def after_step(self, module: nn.Module, progress: Progress) -> None:
        """Move the published average."""
        if self.average is not None:
            self.average.update(self.model)

    def finish_stage(self, model: SemiformerForImageClassification, stage_index: int) -> None:
        """Look at the pseudo-labels a last time."""
        if self.watch is not None:
            self.watch.look(model, self.args.num_train_epochs)

    # -- results

    def evaluate(self, model: SemiformerForImageClassification, stage_index: int, *, final: bool) -> Evaluation:
        """Classify the evaluation pictures by both heads, and by the published average where that is asked for."""
        evaluation = super().evaluate(model, stage_index, final=final)
        if self.args.evaluate_average:
            with self.average.used_by(model):
                averaged = super().evaluate(model, stage_index, final=False)
            evaluation.metrics |= {f"average_{name}": value for name, value in averaged.metrics.items()}
        if final and self.watch is not None and self.watch.moments and self.accelerator.is_main_process:
            evaluation.figures["pseudo_labels"] = self.watch.draw(model.config.id2label)
        return evaluation

    def state_dict(self) -> dict[str, Any]:
        """Return the average and what was looked at so far."""
        return {
            "average": None if self.average is None else self.average.tensors,
            "moments": None if self.watch is None else self.watch.moments,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them back."""
        if self.average is not None:
            self.average.load(state["average"])
        if self.watch is not None:
            self.watch.moments = list(state["moments"])

    def save_extra(self, output_dir: Path) -> None:
        """Write the published average as a checkpoint of its own, and the curves of both streams."""
        from ...visualization.figures import save_figure
        from ...visualization.pseudo_label_sheet import draw_stream_curves

        if self.average is not None:
            with self.average.used_by(self.model):
                self.model.save_pretrained(output_dir / AVERAGE_FOLDER)
            self.processor.save_pretrained(output_dir / AVERAGE_FOLDER)
        rows = [json.loads(line) for line in (output_dir / LOG_FILE).read_text(encoding="utf-8").splitlines()]
        (output_dir / "figures").mkdir(exist_ok=True)
        save_figure(draw_stream_curves(rows), output_dir / "figures" / "streams.png")
