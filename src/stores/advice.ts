/** What insight says about a run's curve. Refuses to act on it. */
import type { Job } from '../shared/job'
import type { MetricBuffer } from '../shared/metrics'

export interface Diagnosis {
  text: string
  change?: Partial<Job>
}

/** The sentence beside the chart; null while there is nothing to say. */
export function diagnosisOf(_metrics: MetricBuffer, _job: Job): Diagnosis | null {
  return null
}
