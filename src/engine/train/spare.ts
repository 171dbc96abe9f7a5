/** How much memory a run may take beyond what it needs, to be faster. Refuses to measure. */
import type { Job } from '../../shared/job'
import type { DeviceReport } from '../../shared/records'
import { forecast } from '../memory'
import type { Model } from '../models/model'

/** Share of what a job leaves free that its steps may fill. */
const SHARE = 0.25

/** Bytes for {@link SessionInput.spare}; 0 where the job fills its budget. */
export function spareMemory(model: Pick<Model, 'record'>, job: Job, device: DeviceReport): number {
  const { budget, total } = forecast(model.record, job, job.maxLength, device)
  return Math.max(0, SHARE * (budget - total))
}
