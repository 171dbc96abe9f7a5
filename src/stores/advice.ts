/** The page's way to what insight says about a curve. Refuses to act on it. */
import type { Diagnosis } from '../insight/diagnosis'

export { onOwnCurve, SHOWN } from '../insight/own-curve'
export { diagnose, type Diagnosis } from '../insight/diagnosis'

/** What to mark on the chart: a healthy curve needs no marks. */
export function evidenceOf(diagnosis: Diagnosis | null): Diagnosis['evidence'] {
  return diagnosis && diagnosis.tone !== 'good' && diagnosis.verdict !== 'too-early' ? diagnosis.evidence : []
}
