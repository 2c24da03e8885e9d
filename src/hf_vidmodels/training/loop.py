"""The training loop: `run` goes through a recipe's stages, `train_stage` is the loop itself.

Nothing is hidden in callbacks. A run that was killed goes on from its last checkpoint and ends with the same weights,
because all randomness follows from the seed and the position in the run (`seeding.py`), and everything that moves is
in the checkpoint (`checkpoints.py`).
"""

import sys

import torch
from accelerate.utils import broadcast_object_list

from ..evaluation.evaluation import Evaluation
from ..text_tables import format_tables
from .arguments import TrainingArguments
from .checkpoints import (
    delete_old_checkpoints,
    load_best_model,
    run_part,
    save_best_model,
    save_checkpoint,
    whole_state_dict,
)
from .recipe import Recipe
from .run_files import (
    write_loss_curve,
    write_model,
    write_results,
    write_run_facts,
)
from .seeding import seed_stage, seed_step
from .stage_parts import StageParts, start_stage
from .training_log import non_finite_sentence
from .training_run import Training
from .weight_average import averaged_weights


def run(recipe: Recipe, args: TrainingArguments) -> None:
    """Train a recipe from its first stage, or from a checkpoint, to a folder that is a Hub repository.

    Raises:
        ValueError: for arguments, data or a launch that do not fit, and for a loss that is no number.
        OSError: when files are missing or cannot be written.
        SystemExit: with status 130 or 143 after SIGINT or SIGTERM, when a checkpoint is saved.
    """
    training = Training(recipe, args)
    parts = None
    with training.stop_request:
        for _ in range(training.state.stage, len(recipe.plan)):
            parts = run_stage(training, parts)
            if parts is None:
                # Frees what was prepared, so that nothing of it reacts to gradients of the next stage.
                training.accelerator.free_memory()
    finish(training)


def run_stage(training: Training, parts: StageParts | None) -> StageParts | None:
    """Train one stage and let the recipe draw its conclusions; `parts` are what it goes on with.

    Returns what the next stage goes on with, if it does.
    """
    training.count_time(in_stage=False)
    recipe, state = training.recipe, training.state
    if parts is None:
        parts = start_stage(recipe, training.model, state, training.checkpoint)
        training.checkpoint = None
    else:
        parts.go_on(recipe, training.model)
    training.num_train_examples = len(parts.batches.own_loader.dataset)
    training.log.start_stage(parts.stage.name, state.step, parts.total_steps)
    train_stage(training, parts)
    parts.share_buffers()
    training.log.finish_stage()
    with averaged_weights(parts.module, parts.average, keep=not parts.goes_on):
        if not parts.goes_on:
            training.accelerator.unwrap_model(parts.prepared, keep_fp32_wrapper=False)
        training.model.eval()
        seed_stage(training.args.seed, state.stage)
        with torch.no_grad():
            recipe.finish_stage(training.model, state.stage)
    training.accelerator.wait_for_everyone()
    training.count_time()
    state.finish_stage(parts.stage.name, training.args.num_train_epochs)
    return parts if parts.goes_on else None


def train_stage(training: Training, parts: StageParts) -> None:
    """Train one stage to its end: the loop over epochs and batches."""
    recipe, args, state, accelerator = training.recipe, training.args, training.state, training.accelerator
    while state.step < parts.total_steps:
        parts.batches.set_epoch(state.epoch)
        parts.prepared.train()
        recipe.on_epoch_start(parts.prepared, parts.progress(state))
        # A resumed epoch skips in the sampler: nothing is decoded for batches that were trained on before.
        loader = parts.batches.loader
        batches = accelerator.skip_first_batches(loader, state.batch) if state.batch else loader
        for batch in batches:
            parts.batches.check_length(state, ended=False)
            seed_step(args.seed, state.global_epoch, state.batch, accelerator.process_index)
            with accelerator.accumulate(parts.prepared):
                loss, logs = recipe.step(parts.prepared, batch, parts.progress(state))
                accelerator.backward(loss * parts.batches.accumulation_weight(state))
                if accelerator.sync_gradients and args.max_grad_norm:
                    norm = accelerator.clip_grad_norm_(parts.prepared.parameters(), args.max_grad_norm)
                    logs = {**logs, "grad_norm": norm}
                parts.optimizer.step()
                parts.optimizer.zero_grad()
            parts.meter.add(loss, logs, state.epoch, state.batch)
            state.batch += 1
            if not accelerator.sync_gradients:
                continue
            state.step += 1
            state.global_step += 1
            parts.step_schedule(accelerator.optimizer_step_was_skipped)
            if parts.average is not None:
                parts.average.update_parameters(parts.module)
            recipe.after_step(parts.prepared, parts.progress(state))
            training.log.advance()
            if state.step % args.logging_steps == 0:
                log_losses(training, parts)
            if state.batch == parts.batches.lengths[state.epoch]:
                continue
            if state.step == args.max_steps:
                break
            if state.step < parts.total_steps:
                evaluate_and_save(training, parts, epoch_ends=False)
        else:
            parts.batches.check_length(state, ended=True)
            state.finish_epoch()
        # A loader left at its last batch would make Accelerate cut what evaluations gather.
        batches.end()
        evaluate_and_save(training, parts, epoch_ends=True)


def evaluate_and_save(training: Training, parts: StageParts, epoch_ends: bool) -> None:
    """Evaluate and save where that is due after an optimiser step, and stop the run where somebody wants it to."""
    args, state = training.args, training.state
    stage_ends = state.step == parts.total_steps
    if stage_ends and parts.meter.counts:
        log_losses(training, parts)

    def is_due(strategy: str, epochs: int, steps: int) -> bool:
        if strategy == "epoch":
            return stage_ends or (epoch_ends and state.epoch % epochs == 0)
        return strategy == "steps" and (stage_ends or state.step % steps == 0)

    # The end of a run has its own evaluation; choosing the best weights needs this one as well.
    run_ends = stage_ends and training.in_last_stage
    if is_due(args.eval_strategy, args.eval_epochs, args.eval_steps) and (not run_ends or args.load_best_model_at_end):
        evaluate_stage(training, parts)
    signal_number = training.stop_request.agreed()
    if signal_number or is_due(args.save_strategy, args.save_epochs, args.save_steps):
        save(training, parts)
    if signal_number:
        training.log.finish_stage()
        training.accelerator.print(
            "The run was told to stop and saved a checkpoint; go on with the same command and "
            "--resume_from_checkpoint last (without --overwrite_output_dir).",
            file=sys.stderr,
        )
        training.accelerator.end_training()
        raise SystemExit(128 + signal_number)


def log_losses(training: Training, parts: StageParts) -> None:
    """Write the means since the last log line; stop the run when a loss was no number."""
    stop_if_not_finite(training, parts)
    values = {**parts.meter.take_means(training.accelerator), **parts.learning_rates}
    state = training.state
    state.log_bytes = training.log.write(parts.stage.name, state.epoch, state.global_step, values)


def stop_if_not_finite(training: Training, parts: StageParts) -> None:
    """Raise ValueError naming stage, epoch, batch and samples of a loss that was no number, on all processes."""
    anywhere, where = parts.meter.take_bad_batch(training.accelerator)
    if not anywhere:
        return
    names = []
    if where is not None:
        items = parts.batches.items_of_batch(where.epoch, where.number)
        names = training.recipe.sample_names(training.state.stage, items)
    raise ValueError(
        non_finite_sentence(where, parts.stage.name, training.state.global_step, names, parts.learning_rates)
    )


def evaluate(training: Training, stage_index: int, final: bool) -> Evaluation:
    """Return the recipe's evaluation of the model; the primary metric is made equal on all processes."""
    prepare_evaluation(training, stage_index)
    training.model.eval()
    seed_stage(training.args.seed, stage_index)
    with torch.no_grad():
        evaluation = training.recipe.evaluate(training.model, stage_index, final=final)
    primary = evaluation.primary_metric
    evaluation.metrics[primary] = broadcast_object_list([evaluation.metrics[primary]])[0]
    return evaluation


def prepare_evaluation(training: Training, stage_index: int) -> None:
    """Let the recipe prepare the model for an evaluation."""
    training.model.eval()
    seed_stage(training.args.seed, stage_index)
    with torch.no_grad():
        training.recipe.before_evaluation(training.model, stage_index)


def evaluate_stage(training: Training, parts: StageParts) -> None:
    """Evaluate inside a stage, log it, and keep the model when it is the best so far of the last stage."""
    state = training.state
    with parts.evaluated():
        evaluation = evaluate(training, state.stage, final=False)
        log_evaluation(training, parts.stage.name, state.epoch, evaluation)
        value = evaluation.metrics[evaluation.primary_metric]
        is_best = state.best_metric is None or value > state.best_metric
        if training.args.load_best_model_at_end and is_best:
            state.best_metric, state.best_step = value, state.global_step
            save_best_model(training.accelerator, training.output_dir, training.model, state)


def log_evaluation(training: Training, stage_name: str, epoch: int, evaluation: Evaluation) -> None:
    """Append a line with the metrics, each named `eval_...`, to the training log."""
    values = {f"eval_{name}": value for name, value in evaluation.metrics.items()}
    training.state.log_bytes = training.log.write(stage_name, epoch, training.state.global_step, values)


def save(training: Training, parts: StageParts) -> None:
    """Write a checkpoint, unless a loss was no number, and delete the oldest beyond the limit."""
    stop_if_not_finite(training, parts)
    training.count_time()
    save_checkpoint(
        training.accelerator,
        training.output_dir,
        f"{parts.stage.name}-{training.state.global_step}",
        training.state,
        training.fingerprint,
        run_part=run_part(training.model, parts.module, parts.average),
        process_part={"recipe": training.recipe.state_dict(), "meter": parts.meter.state_dict()},
    )
    if training.accelerator.is_main_process:
        delete_old_checkpoints(training.output_dir, training.args.save_total_limit)


def finish(training: Training) -> None:
    """Evaluate the finished model and complete the folder: weights, results, pictures, card, code; upload if asked."""
    recipe, args, output_dir = training.recipe, training.args, training.output_dir
    if args.load_best_model_at_end:
        load_best_model(output_dir, training.model, training.state)
    evaluation, last = None, len(recipe.plan) - 1
    if args.eval_strategy == "no":
        prepare_evaluation(training, last)
    else:
        evaluation = evaluate(training, last, final=True)
        log_evaluation(training, recipe.plan[last].name, args.num_train_epochs, evaluation)
    weights = whole_state_dict(training.model)
    training.count_time(in_stage=False)
    if training.accelerator.is_main_process:
        write_model(output_dir, training.model, weights, recipe.processor)
        num_parameters = sum(parameter.numel() for parameter in training.model.parameters())
        write_run_facts(
            output_dir, recipe, training.accelerator, training.state, num_parameters, training.num_train_examples
        )
        write_loss_curve(output_dir, None if evaluation is None else evaluation.primary_metric)
        if evaluation is not None:
            write_results(output_dir, recipe, evaluation)
            print(f"\n{format_tables(evaluation.tables)}\n")
        recipe.save_extra(output_dir)
        complete_repository(training, has_results=evaluation is not None)
        print(f"The finished run is in {output_dir}.")
    training.accelerator.wait_for_everyone()
    training.accelerator.end_training()


def complete_repository(training: Training, has_results: bool) -> None:
    """Make the folder a Hub repository with card and code, and upload it when the arguments say so.

    Card and code are those of models of this package; a model of one's own keeps to `register_for_auto_class`.
    """
    args, processor = training.args, training.recipe.processor
    if type(training.model).__module__.startswith("hf_vidmodels."):
        from ..hub.cards import write_card
        from ..hub.code_export import export_code

        if has_results:
            write_card(training.output_dir)
        export_code(training.model, training.output_dir, () if processor is None else (processor,))
    if args.push_to_hub:
        from ..hub.push import push_folder

        address = push_folder(training.output_dir, args.hub_model_id, private=args.hub_private_repo or None)
        print(f"It was uploaded to {address}.")
