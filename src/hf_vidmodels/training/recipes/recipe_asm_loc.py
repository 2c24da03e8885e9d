"""How ASM-Loc is trained: one stage per network of the cascade, each on proposals of the network before it.

He et al., CVPR 2022; schedule and constants of the official code (commit 4acb3c86c5ec). Every stage trains a freshly
initialised network with a fresh optimizer on the proposals that the one before found; proposals stay fixed inside a
stage and lie as files in the run's working folder. Segment annotations are read by evaluation alone.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import Dataset

from ...atomic_io import write_json
from ...data.features.video_table import VideoTable, warn_of_other_rate
from ...evaluation.evaluation import Evaluation
from ...evaluation.localization_evaluation import evaluate_localization, score_localization
from ...modeling.modeling_asm_loc import AsmLocForTemporalActionLocalization
from ...processing.processing_asm_loc import AsmLocProcessor
from ..recipe import Progress, Recipe
from ..stage_plan import Stage
from .asm_loc_arguments import AsmLocArguments
from .asm_loc_data import TASK, load_asm_loc_data
from .asm_loc_videos import GuidedTrainingVideos, Proposals


class AsmLocRecipe(Recipe):
    """Trains the cascade step by step."""

    method = "asm_loc"
    task = TASK
    arguments_class = AsmLocArguments
    args: AsmLocArguments

    def prepare_data(self) -> None:
        """Load the corpus, make features when it has only videos, and check that every file fits."""
        show_progress = self.accelerator.is_main_process and not self.args.disable_tqdm
        self.data = load_asm_loc_data(self.args, self.accelerator.device, show_progress)

    def build_model(self) -> AsmLocForTemporalActionLocalization:
        """Make the whole cascade, as wide as the features are."""
        self.config = self.args.model_config(self.data.class_names, **self.data.model_settings)
        warn_of_other_rate(self._tables(), self.config.frames_per_second, self.config.frames_per_snippet)
        self.processor = AsmLocProcessor.from_config(self.config)
        model = AsmLocForTemporalActionLocalization(self.config)
        if model.standardization is not None:
            mean, std = self.data.train.feature_statistics()
            model.standardization.mean.copy_(torch.from_numpy(mean))
            model.standardization.std.copy_(torch.from_numpy(std))
        return model

    def stages(self) -> list[Stage]:
        """One stage per network, `step0` and so on."""
        return [Stage(f"step{step}") for step in range(self.args.num_steps)]

    def start_stage(self, model: AsmLocForTemporalActionLocalization, stage_index: int) -> nn.Module:
        """Let only this step's network learn, and read what the step before found."""
        model.config.num_trained_steps = stage_index
        model.requires_grad_(False)
        model.steps[stage_index].requires_grad_(True)
        self.proposals = self._read_proposals(stage_index - 1) if stage_index > 0 else None
        return model

    def train_dataset(self, stage_index: int) -> Dataset:
        """Give the training videos as the step sees them."""
        return GuidedTrainingVideos(self.data.train, self.proposals, self.config, self.args.seed)

    def collate(self, samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Stack videos; their proposals are padded to the longest list."""
        batch = {
            key: torch.from_numpy(np.stack([sample[key] for sample in samples]))
            for key in samples[0]
            if key != "proposal_boxes"
        }
        if "proposal_boxes" in samples[0]:
            boxes = [torch.from_numpy(sample["proposal_boxes"]) for sample in samples]
            batch["num_proposals"] = torch.tensor([len(rows) for rows in boxes])
            batch["proposal_boxes"] = nn.utils.rnn.pad_sequence(boxes, batch_first=True)
        return batch

    def step(
        self, module: nn.Module, batch: Any, progress: Progress
    ) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the weighted loss of this step's network, and its terms."""
        output = module(**batch, step=progress.stage, return_dict=True)
        names = ("foreground_loss", "background_loss", "context_loss", "instance_loss")
        terms = {name: getattr(output, name) for name in names if getattr(output, name) is not None}
        return output.loss, {name: value.detach() for name, value in terms.items()}

    def finish_stage(self, model: AsmLocForTemporalActionLocalization, stage_index: int) -> None:
        """Write proposals for the next stage, and how the step does on held-out videos; the last one chooses."""
        model.config.num_trained_steps = stage_index + 1
        is_last = stage_index + 1 == self.config.num_steps
        proposals: dict[str, Any] = {}
        for table in self._tables():
            is_held_out = self.data.held_out is not None and table is self.data.held_out.videos
            if is_last and not is_held_out:
                continue
            labels = table.labels if table is self.data.train else None
            results = self._localize_step(model, table, stage_index, labels, with_pseudo=not is_last)
            if is_held_out:
                self._write(self._held_out_file(stage_index), self.data.held_out.measured(results, self.config))
            if not is_last:
                proposals |= {video: result["pseudo"] for video, result in results.items()}
        if not is_last:
            rows = {video: {key: value.tolist() for key, value in found.items()} for video, found in proposals.items()}
            self._write(self._proposal_file(stage_index), rows)
        elif self.data.held_out is not None:
            values = self._read_held_out()
            model.config.answering_step = self.data.held_out.best_step(values)
            for sentence in self.data.held_out.sentences(values):
                self.accelerator.print(sentence)

    def evaluate(self, model: AsmLocForTemporalActionLocalization, stage_index: int, *, final: bool) -> Evaluation:
        """Score the step in training, or at the end the whole cascade step by step as a user would run it."""
        if not final:
            results = self._localize_step(model, self.data.evaluation, stage_index, None)
            predictions = {video: result["test"] for video, result in results.items()}
            return score_localization(
                {stage_index: predictions}, self.data.evaluation, self.config, self.data.eval_split
            )
        evaluation = evaluate_localization(
            model,
            self.data.evaluation,
            split=self.data.eval_split,
            accelerator=self.accelerator,
            batch_size=self.args.per_device_eval_batch_size,
        )
        if self.data.held_out is not None:
            evaluation.tables.append(self.data.held_out.table(self._read_held_out()))
        return evaluation

    def save_extra(self, output_dir: Path) -> None:
        """Put the feature networks beside the model, so that it takes video files."""
        if self.data.extractor is not None:
            self.config.feature_extractor = self.data.extractor.save(output_dir)
            self.config.save_pretrained(output_dir)

    def sample_names(self, stage_index: int, indices: Sequence[int]) -> list[str]:
        """Name training videos by their ids."""
        return [self.data.train.video_ids[index] for index in indices]

    def _tables(self) -> list[VideoTable]:
        """Give the tables of all splits that take part, each once."""
        held_out = self.data.held_out
        tables = (self.data.train, self.data.evaluation, None if held_out is None else held_out.videos)
        # By identity: the held-out videos are often those of the evaluation split.
        return list({id(table): table for table in tables if table is not None}.values())

    def _localize_step(
        self,
        model: AsmLocForTemporalActionLocalization,
        table: VideoTable,
        step: int,
        label_sets: Sequence[Sequence[int]] | None,
        *,
        with_pseudo: bool = False,
    ) -> dict[str, dict[str, Any]]:
        """Run one step over a split, shared among the processes; every process gets all results."""
        previous = self._read_proposals(step - 1) if step > 0 else None
        with self.accelerator.split_between_processes(list(range(len(table)))) as mine:
            results = model.localize_step(
                [table.load(index, self.config.hidden_size) for index in mine],
                step,
                None if previous is None else [previous[table.video_ids[index]] for index in mine],
                label_sets=None if label_sets is None else [label_sets[index] for index in mine],
                with_pseudo=with_pseudo,
                batch_size=self.args.per_device_eval_batch_size,
            )
            found = [(table.video_ids[index], result) for index, result in zip(mine, results, strict=True)]
        return dict(gather_object(found))

    def _write(self, path: Path, content: Any) -> None:
        """Write a file of the working folder that all processes can read afterwards."""
        if self.accelerator.is_main_process:
            write_json(path, content)
        self.accelerator.wait_for_everyone()

    def _proposal_file(self, step: int) -> Path:
        return self.work_dir / f"proposals_step{step}.json"

    def _held_out_file(self, step: int) -> Path:
        return self.work_dir / f"held_out_step{step}.json"

    def _read_held_out(self) -> list[float]:
        """Read how each step does on the held-out videos."""
        return [
            json.loads(self._held_out_file(step).read_text(encoding="utf-8")) for step in range(self.config.num_steps)
        ]

    def _read_proposals(self, step: int) -> Proposals:
        """Read what `finish_stage` wrote.

        Raises:
            FileNotFoundError: when it is gone; training on without it would silently use no proposals.
        """
        path = self._proposal_file(step)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: step {step + 1} trains on the proposals of step {step}; start the run afresh "
                "with overwrite_output_dir"
            )
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {
            video: {
                "segments": np.array(rows["segments"], dtype=np.float64).reshape(-1, 2),
                "scores": np.array(rows["scores"], dtype=np.float64),
                "labels": np.array(rows["labels"], dtype=np.int64),
            }
            for video, rows in stored.items()
        }
