/**
 * The precision in which products are computed, as a scope: a training step asks for it, and every product inside follows. Refuses to
 * reach further: norms, softmax, losses, attention and updates are computed in 32 bits whatever it says.
 */
import { arithmeticOn, MATRIX_FEATURE } from '../../shared/arithmetic'
import type { Job } from '../../shared/job'
import { hasLanes } from './gemm-lanes'
import { gpuDevice, onGPU } from './gpu'

/** `f16`: the factors of products are rounded to halves, which are multiplied exactly and summed in 32 bits. `matrix`: matrix units do so. */
export type Arithmetic = Job['arithmetic']

let current: Arithmetic = 'f32'

/** What products are computed in here. */
export function arithmetic(): Arithmetic {
  return current
}

/** Computes something with products in this arithmetic, which the device must have; see {@link arithmeticHere}. */
export function inArithmetic<T>(wanted: Arithmetic, work: () => T): T {
  const former = current
  current = wanted
  try {
    return work()
  } finally {
    current = former
  }
}

/** What the device makes of an arithmetic that is asked for: itself, or full precision. */
export function arithmeticHere(wanted: Arithmetic): Arithmetic {
  return onGPU() ? arithmeticOn(usable(), wanted) : 'f32'
}

/** What a device's matrix units take: `[m, k]` times `[k, n]`, summed in 32 bits. */
export interface MatrixUnits {
  component: 'f16' | 'f32'
  m: number
  n: number
  k: number
  /** Threads that work on one matrix together. */
  lanes: number
  /** How the browser at hand writes where a matrix lies: as a template's parameter, or (older ones) as an argument. */
  order: 'parameter' | 'argument'
}

const found = new WeakMap<GPUDevice, MatrixUnits>()

/** The units of the present device; null where there are none, or nobody has found them to be of use. */
export function matrixUnits(): MatrixUnits | null {
  return onGPU() ? (found.get(gpuDevice()) ?? null) : null
}

/** Says what units the present device has; null for none. */
export function useMatrixUnits(units: MatrixUnits | null): void {
  if (units) found.set(gpuDevice(), units)
  else found.delete(gpuDevice())
}

/** The features of the present device that are of use: matrix units where they were found to be, subgroups where products go by them. */
export function usable(): string[] {
  const idle = matrixUnits() ? [] : [MATRIX_FEATURE, ...(hasLanes() ? [] : ['subgroups'])]
  return [...gpuDevice().features].filter((feature) => !idle.includes(feature))
}

/** Largest half. */
const MOST = '65504.0'

/**
 * WGSL that rounds the vec4 `v` to halves, noting what is too large for one. What a device makes of that is its own affair, so the sums
 * it goes into are made infinite by {@link spoilWGSL}, and the step that they belong to is skipped. `stored` where it is kept as halves
 * anyway; elsewhere there and back alone would be optimised away.
 */
export function roundWGSL(stored: boolean): string {
  return `farthest = max(farthest, abs(v)); ${stored ? '' : 'v = quantizeToF16(v);'}`
}

/** Module-scope WGSL for {@link roundWGSL} and {@link spoilWGSL}; `shared` where threads load for each other. */
export function halvesWGSL(shared: boolean): string {
  const flag = shared ? 'var<workgroup> too_far: atomic<u32>;' : ''
  const note = shared
    ? 'if (far) { atomicStore(&too_far, 1u); } workgroupBarrier(); far = atomicLoad(&too_far) != 0u;'
    : ''
  return `var<private> farthest: vec4<f32>;
${flag}
fn beyond_halves() -> f32 {
  var far = any(farthest > vec4<f32>(${MOST}));
  ${note}
  // infinite, in a way that no compiler can see
  return select(0.0, (f32(far) * 3.0e38) * (f32(far) * 3.0e38), far);
}`
}

/** WGSL that spoils sums whose factors were no halves; in uniform control flow. */
export function spoilWGSL(sums: readonly string[]): string {
  return `let beyond = beyond_halves(); ${sums.map((sum) => `${sum} += beyond;`).join(' ')}`
}
