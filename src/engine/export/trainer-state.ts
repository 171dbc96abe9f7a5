/** A run's curve in the form of transformers' `trainer_state.json`. Refuses fields for which nothing was measured. */
import { MetricBuffer, metricsToRows } from '../../shared/metrics'
import type { CheckpointMeta } from '../../shared/records'

type Curve = Pick<
  CheckpointMeta,
  'job' | 'metrics' | 'step' | 'totalSteps' | 'tokensSeen' | 'bestStep' | 'bestEvalLoss'
>

/** The object to be written as `trainer_state.json`. */
export function trainerState(meta: Curve): Record<string, unknown> {
  const rows = metricsToRows(new MetricBuffer(meta.metrics))
  const steps = rows.filter((row) => row.loss !== undefined)
  const logs = rows.flatMap((row) => {
    const common = { epoch: row.epoch, step: row.step }
    const entries: Record<string, unknown>[] = []
    if (row.loss !== undefined) {
      entries.push({ ...common, grad_norm: row.gradNorm, learning_rate: row.learningRate, loss: row.loss })
    }
    if (row.evalLoss !== undefined) entries.push({ ...common, eval_loss: row.evalLoss })
    return entries
  })
  return {
    best_global_step: meta.bestStep,
    best_metric: meta.bestEvalLoss,
    best_model_checkpoint: meta.bestStep === null ? null : 'checkpoint-best',
    epoch: steps.at(-1)?.epoch ?? 0,
    global_step: meta.step,
    is_hyper_param_search: false,
    is_local_process_zero: true,
    is_world_process_zero: true,
    log_history: logs,
    logging_steps: 1,
    max_steps: meta.totalSteps,
    num_input_tokens_seen: meta.tokensSeen,
    num_train_epochs: Math.ceil(meta.job.epochs),
    train_batch_size: meta.job.batchSize,
  }
}
