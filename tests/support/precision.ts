/**
 * How far Finetab may be from PyTorch in 32 bits, mode by mode; docs/precision.md says the same. Relative: losses and norms to the recorded
 * number, gradients to the largest of their tensor. Base weights in fewer bits (f16, int8, nf4) are compared with PyTorch over the same rounded
 * weights and keep the tolerances of their arithmetic.
 */
import type { Job } from '../../src/shared/job'

interface Tolerance {
  /** Loss of the first step, or of a row: nothing was trained yet. */
  readonly firstLoss: number
  readonly loss: number
  readonly norm: number
  readonly gradient: number
}

export const TOLERANCES: Readonly<Record<Job['arithmetic'], Tolerance>> = {
  f32: { firstLoss: 1e-4, loss: 1e-3, norm: 3e-3, gradient: 1e-3 },
  f16: { firstLoss: 1e-3, loss: 3e-3, norm: 1e-2, gradient: 1e-2 },
  matrix: { firstLoss: 1e-3, loss: 3e-3, norm: 1e-2, gradient: 1e-2 },
}
