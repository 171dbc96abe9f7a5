/** What a device makes of the arithmetic that a job asks for, in words for the form and the command line. Refuses to choose for the person. */
import { SETTINGS, type Job } from './job'
import type { DeviceReport } from './records'

type Arithmetic = Job['arithmetic']

/** The feature of a WebGPU device that has matrix units. */
export const MATRIX_FEATURE = 'chromium-experimental-subgroup-matrix'

/** The feature of a WebGPU device that each arithmetic needs, what comes closest to it, and how a person may get it. */
const NEEDS: Partial<Record<Arithmetic, { feature: string; else: Arithmetic; fix?: string }>> = {
  f16: { feature: 'shader-f16', else: 'f32' },
  matrix: {
    feature: MATRIX_FEATURE,
    else: 'f16',
    fix: 'Browsers only try them out: Chrome and Edge offer those of some graphics cards once chrome://flags/#enable-unsafe-webgpu is enabled.',
  },
}

/** The arithmetic that a device with these features computes in where a job asks for this one. */
export function arithmeticOn(features: Iterable<string>, wanted: Arithmetic): Arithmetic {
  const has = [...features]
  const need = NEEDS[wanted]
  return need === undefined || has.includes(need.feature) ? wanted : arithmeticOn(has, need.else)
}

/** What to say where a run is computed in another arithmetic than the job asks for; null where there is nothing to say. */
export function missedArithmetic(wanted: Arithmetic, own: Arithmetic): string | null {
  if (own === wanted) return null
  const { choices } = SETTINGS.arithmetic
  const fix = NEEDS[wanted]?.fix
  return `This device has no ${choices[wanted]}: the run is computed in ${choices[own]}, which may be slower and is no worse.${fix ? ` ${fix}` : ''}`
}

/** The same before a run, from what is known of the device. */
export function arithmeticNote({ arithmetic }: Pick<Job, 'arithmetic'>, { features }: DeviceReport): string | null {
  return missedArithmetic(arithmetic, arithmeticOn(features, arithmetic))
}
