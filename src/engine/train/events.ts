/** What a training session tells while it runs. Plain data; refuses behaviour. */
import type { Checkpoint, CheckpointKind, RunMark, RunSample } from '../../shared/records'

export interface StepEvent {
  kind: 'step'
  /** The first is 1. */
  step: number
  /** Passes over the rows so far, as a fraction. */
  epoch: number
  /** Mean loss in nats a label token of the effective batch; NaN where the step was skipped. */
  loss: number
  /** Global L2 norm before clipping; NaN where the step was skipped. */
  gradNorm: number
  learningRate: number
  /** Input tokens of the step without padding. */
  tokens: number
  /** ms. */
  stepTime: number
  /** Bytes held on the device after the step. */
  memory: number
  /** In runs over preferences: mean reward of the better answers less that of the worse, and the share of rows on the right side. */
  rewardMargin?: number
  rewardAccuracy?: number
}

/**
 * After a `step` event come, where they are due and in this order: `eval` (with `mark` if it is the best), `sample`, `checkpoint`,
 * `mark` early-stop. `stage` may come at any time.
 */
export type SessionEvent =
  | { kind: 'stage'; stage: string; done: number; total: number }
  | StepEvent
  | { kind: 'eval'; step: number; evalLoss: number; rewardMargin?: number; rewardAccuracy?: number }
  | { kind: 'sample'; sample: RunSample }
  | { kind: 'checkpoint'; kinds: CheckpointKind[]; checkpoint: Checkpoint }
  | { kind: 'mark'; mark: RunMark }

/** How a run ended by itself. */
export interface SessionOutcome {
  reason: 'finished' | 'early-stop'
  step: number
  /** Step of the best checkpoint: lowest validation loss, or the last step where nothing was evaluated. */
  bestStep: number
  bestEvalLoss: number | null
}
