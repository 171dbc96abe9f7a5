/** Learning rates by step as transformers has them. Refuses state: the rate follows from the step alone. */
import type { Job } from '../../shared/job'

/** What a schedule depends on. */
export type ScheduleSettings = Pick<Job, 'schedule' | 'learningRate' | 'warmupSteps'>

/**
 * The learning rate of a step, the first being 1: transformers' lambda at `step - 1`, so that with warm-up step 1 has 0.
 * Source: transformers optimization.py, get_{cosine,linear,constant}_schedule_with_warmup.
 */
export function learningRate(settings: ScheduleSettings, step: number, totalSteps: number): number {
  const at = step - 1
  const { warmupSteps: warmup, learningRate: peak } = settings
  if (at < warmup) return peak * (at / Math.max(1, warmup))
  if (settings.schedule === 'constant') return peak
  const rest = Math.max(1, totalSteps - warmup)
  if (settings.schedule === 'linear') return peak * Math.max(0, (totalSteps - at) / rest)
  return peak * Math.max(0, 0.5 * (1 + Math.cos((Math.PI * (at - warmup)) / rest)))
}
