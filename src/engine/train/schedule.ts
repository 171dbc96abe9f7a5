/** How long a run is and when it looks up from its work. Refuses to know about rows and tensors. */
import { CodedError } from '../../shared/errors'
import type { Job } from '../../shared/job'

/** Steps of a whole run: as given, or from epochs over so many rows. */
export function totalSteps(job: Pick<Job, 'steps' | 'epochs' | 'batchSize' | 'gradAccum'>, rows: number): number {
  if (job.steps > 0) return job.steps
  if (rows === 0)
    throw new CodedError('data.empty', 'There are no examples to train on.', {
      where: 'dataset',
      fix: 'Add examples, or set the validation share lower.',
    })
  return Math.max(1, Math.ceil((job.epochs * rows) / (job.batchSize * job.gradAccum)))
}

/** Steps between two evaluations or checkpoints; 0 asks for ten a run, at least every 100 steps. */
export function interval(every: number, total: number): number {
  return every > 0 ? every : Math.max(1, Math.min(100, Math.ceil(total / 10)))
}

/** Whether something that happens every so many steps, and at the end, happens after this one. */
export function isDue(step: number, every: number, total: number): boolean {
  return step > 0 && (step % every === 0 || step >= total)
}

/** Token sequences that a row of a batch is: two answers where a better one is compared with a worse. */
export function sequencesOf({ objective }: Pick<Job, 'objective'>): 1 | 2 {
  return objective === 'dpo' || objective === 'orpo' ? 2 : 1
}

/** Tokens of a micro-batch at most. */
export function stepTokens(job: Pick<Job, 'objective' | 'batchSize' | 'maxLength'>): number {
  return job.batchSize * sequencesOf(job) * job.maxLength
}
