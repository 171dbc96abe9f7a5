/**
 * How far Finetab may be from PyTorch in 32 bits, by what holds the base weights and what products are computed in; docs/precision.md has the
 * same as a table, made by `npm run docs`. Relative: losses and norms to the recorded number, gradients to the largest of their tensor. Base
 * weights in fewer bits are compared with PyTorch over the same rounded weights, so only the arithmetic sets the distance.
 */
import type { Job } from '../../src/shared/job'

export interface Tolerance {
  /** Loss of the first step, or of a row: nothing was trained yet. */
  readonly firstLoss: number
  readonly loss: number
  readonly norm: number
  readonly gradient: number
}

/** In 32 bits, whatever is trained and towards whatever. */
export const FULL: Tolerance = { firstLoss: 1e-4, loss: 1e-3, norm: 3e-3, gradient: 1e-3 }
/** Factors rounded to halves: eleven bits instead of twenty-four. */
const HALVES: Tolerance = { firstLoss: 1e-3, loss: 3e-3, norm: 1e-2, gradient: 1e-2 }

/** A tolerance, and the file of tests/engine that keeps to it. */
type Held = Tolerance & { readonly test: string }

const plain: Held = { ...FULL, norm: 2e-3, test: 'golden.test.ts' }
const rounded: Held = { ...FULL, test: 'quantised.test.ts' }
const halves: Held = { ...HALVES, test: 'halves.test.ts' }

export const TOLERANCES: Readonly<Record<Job['quantization'], Readonly<Record<Job['arithmetic'], Held>>>> = {
  none: { f32: plain, f16: halves, matrix: halves },
  f16: { f32: rounded, f16: halves, matrix: halves },
  int8: { f32: rounded, f16: halves, matrix: halves },
  nf4: { f32: rounded, f16: halves, matrix: halves },
}
