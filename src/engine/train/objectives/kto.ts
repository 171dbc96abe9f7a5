/**
 * Kahneman-Tversky optimisation (Ethayarajh et al. 2024): answers that were rated one by one, each against what the model says on average.
 * Refuses weights for good and bad ones: both count the same. Source: trl kto_trainer.py, loss type "kto".
 */
import type { Job } from '../../../shared/job'
import { sigmoid, type Judged, type Objective } from './verdict'

/** How far the model has moved on answers that do not belong to their prompts: the mean of the log ratios, at least 0; a constant. */
function distance(rows: readonly Judged[]): number {
  const ratios = rows.flatMap(({ unmatched }) => (unmatched ? [unmatched.logp - unmatched.reference] : []))
  return ratios.length === 0 ? 0 : Math.max(0, ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length)
}

/** 1 − σ(β·(log ratio − KL)) for good answers, 1 − σ(β·(KL − log ratio)) for bad ones. */
export function kto({ beta }: Pick<Job, 'beta'>): Objective {
  return {
    needsReference: true,
    unmatched: true,
    judge(rows) {
      const kl = distance(rows)
      const parts = rows.map(({ row, answers }) => {
        const { logp, reference } = answers[0]!
        const side = row.rated!.good ? 1 : -1
        const share = sigmoid(side * beta * (logp - reference - kl))
        return { side, share, reward: beta * (logp - reference) }
      })
      const rewards = (wanted: number): number[] =>
        parts.flatMap(({ side, reward }) => (side === wanted ? [reward] : []))
      return {
        loss: parts.reduce((sum, { share }) => sum + 1 - share, 0),
        slopes: parts.map(({ side, share }) => [-side * beta * share * (1 - share)]),
        good: rewards(1),
        bad: rewards(-1),
        right: parts.filter(({ share }) => share > 0.5).length,
      }
    },
  }
}
