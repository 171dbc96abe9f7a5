/** What a device makes of the arithmetic that a job asks for, in words for the form and the command line. Refuses to choose for the person. */
import { SETTINGS, type Job } from './job'
import type { DeviceReport } from './records'

type Arithmetic = Job['arithmetic']

/** The feature of a WebGPU device that each arithmetic needs. */
const NEEDS: Partial<Record<Arithmetic, string>> = { f16: 'shader-f16' }

/** The arithmetic that a device with these features computes in where a job asks for this one. */
export function arithmeticOn(features: Iterable<string>, wanted: Arithmetic): Arithmetic {
  const needed = NEEDS[wanted]
  return needed === undefined || [...features].includes(needed) ? wanted : 'f32'
}

/** What to say where a run is computed in another arithmetic than the job asks for; null where there is nothing to say. */
export function missedArithmetic(wanted: Arithmetic, own: Arithmetic): string | null {
  if (own === wanted) return null
  const { choices } = SETTINGS.arithmetic
  return `This device has no ${choices[wanted]}: the run is computed in ${choices[own]}, which is as good and slower at most.`
}

/** The same before a run, from what is known of the device. */
export function arithmeticNote({ arithmetic }: Pick<Job, 'arithmetic'>, { features }: DeviceReport): string | null {
  return missedArithmetic(arithmetic, arithmeticOn(features, arithmetic))
}
