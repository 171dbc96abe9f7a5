/**
 * Measures on the present device which candidate is the fastest for each class of products, and makes products follow it. Refuses
 * software devices unless told otherwise, and to keep anything: the caller stores what it gets and brings it back.
 */
import { withGuard } from '../device-guard'
import { tf } from '../tf'
import {
  candidatesFor,
  CANDIDATES_VERSION,
  choicesNamed,
  SHAPES,
  type Candidate,
  type Choices,
  type ShapeClass,
} from './gemm-candidates'
import { gemm, type Factor } from './gemm'
import { tileOverride, useChoices } from './gemm-tile'
import { gpuBackend, gpuDevice, isSoftware, onGPU } from './gpu'
import { stopwatch } from './stopwatch'

/** The names of the chosen candidates, by class: plain data, to be kept. */
export type Tuning = Readonly<Record<ShapeClass, string>>

interface Product {
  m: number
  n: number
  k: number
  layouts: readonly [Factor['layout'], Factor['layout']]
}

const FORWARD = ['k-last', 'k-last'] as const
const BACKWARD = ['k-last', 'k-first'] as const
const GRADIENT = ['k-first', 'k-first'] as const

/** What stands for a class: 512 tokens through a small model's layers, and one token. */
const PRODUCTS: Readonly<Record<ShapeClass, readonly [Product, Product]>> = {
  medium: [{ m: 512, n: 1536, k: 576, layouts: FORWARD }, { m: 512, n: 576, k: 1536, layouts: BACKWARD }],
  thin: [{ m: 512, n: 16, k: 576, layouts: FORWARD }, { m: 16, n: 576, k: 512, layouts: GRADIENT }],
  large: [{ m: 1024, n: 1024, k: 512, layouts: FORWARD }, { m: 1024, n: 1024, k: 512, layouts: BACKWARD }],
  few: [{ m: 256, n: 192, k: 512, layouts: FORWARD }, { m: 192, n: 192, k: 512, layouts: GRADIENT }],
  row: [{ m: 1, n: 1536, k: 576, layouts: FORWARD }, { m: 1, n: 576, k: 1536, layouts: FORWARD }],
} // prettier-ignore

/** Share of the first candidate's time that another must save: less may be chance. */
const WORTH = 0.03
/** Most runs that go to the device at once; what they leave behind is freed after them only. */
const MOST_AT_ONCE = 24

export interface TuningOptions {
  signal?: AbortSignal
  /** Candidates measured, and how many there are. */
  onProgress?: (done: number, total: number) => void
  /** ms that measuring may take beside compiling; classes that are not reached keep their first candidate. */
  budget?: number
  /** Classes to measure; the others keep their first candidate. */
  shapes?: readonly ShapeClass[]
  /** Measures software devices too, whose products never follow a choice. */
  force?: boolean
}

/**
 * The fastest candidates on this device; null where there is nothing to choose. Nothing else may use the device meanwhile, and products
 * do not follow the result before {@link useTuning}.
 * @throws the signal's reason; CodedError `device.*` where the device fails.
 */
export async function tuneProducts({
  signal,
  onProgress,
  budget = 300,
  shapes = SHAPES,
  force = false,
}: TuningOptions = {}): Promise<Tuning | null> {
  if (!onGPU() || (isSoftware() && !force)) return null
  const { limits } = gpuDevice()
  const lists = SHAPES.map((shape) => [shape, candidatesFor(shape, limits)] as const)
  const total = lists.reduce((sum, [, list]) => sum + list.length, 0)
  const found: Partial<Record<ShapeClass, string>> = {}
  const clock = stopwatch()
  let [done, left] = [0, budget]
  const measure = async (): Promise<void> => {
    for (const [shape, list] of lists) {
      if (left > 0 && shapes.includes(shape)) {
        const bench = new Bench(PRODUCTS[shape])
        try {
          const usable = await bench.compile(list, signal)
          const started = performance.now()
          const share = (left * list.length) / (total - done) / Math.max(1, usable.length)
          found[shape] = await fastest(usable, bench, clock, share, signal)
          left -= performance.now() - started
        } finally {
          bench.dispose()
        }
      }
      found[shape] ??= list[0]!.name
      onProgress?.((done += list.length), total)
    }
  }
  try {
    await withGuard(measure)
  } finally {
    clock.dispose()
  }
  return found as Tuning
}

/** The name of the candidate with the shortest time, each being given about `share` ms; undefined where there is none. */
async function fastest(
  candidates: readonly Candidate[],
  bench: Bench,
  clock: ReturnType<typeof stopwatch>,
  share: number,
  signal?: AbortSignal,
): Promise<string | undefined> {
  let best: { name: string; ms: number } | null = null
  for (const [i, candidate] of candidates.entries()) {
    signal?.throwIfAborted()
    const run = (): void => bench.run(candidate)
    const one = Math.max(await clock.time(run, 1), 1e-3) // also warms it up
    const runs = Math.max(1, Math.min(200, Math.floor(share / one)))
    const ms = (await clock.time(run, runs, MOST_AT_ONCE)) / runs
    if (!best || ms < best.ms * (i === 0 ? 1 : 1 - WORTH)) best = { name: candidate.name, ms }
  }
  return best?.name
}

/** Two products of a class over values that lie ready, each written where it was before, so that runs wait for one another. */
class Bench {
  readonly #parts: { product: Product; a: tf.Tensor2D; b: tf.Tensor2D; y: tf.Tensor2D }[]

  constructor(products: readonly Product[]) {
    const filled = (rows: number, columns: number): tf.Tensor2D => tf.keep(tf.fill<tf.Rank.R2>([rows, columns], 0.5))
    this.#parts = products.map((product) => {
      const { m, n, k, layouts: [a, b] } = product // prettier-ignore
      return {
        product,
        a: a === 'k-last' ? filled(m, k) : filled(k, m),
        b: b === 'k-last' ? filled(n, k) : filled(k, n),
        y: filled(m, n),
      }
    })
  }

  run(candidate: Candidate): void {
    tileOverride.candidate = candidate
    try {
      for (const { product, a, b, y } of this.#parts) {
        const [layoutA, layoutB] = product.layouts
        gemm({
          a: { tensor: a, layout: layoutA },
          b: { tensor: b, layout: layoutB },
          rows: { count: product.m, into: y },
        })
      }
    } finally {
      tileOverride.candidate = null
    }
  }

  /** Compiles all candidates side by side; those that the device can compile. */
  async compile(candidates: readonly Candidate[], signal?: AbortSignal): Promise<Candidate[]> {
    const { pipelineCache } = gpuBackend()
    const usable: Candidate[] = []
    const compiling = candidates.map(async (candidate) => {
      const before = new Set(Object.keys(pipelineCache))
      tf.env().set('WEBGPU_ENGINE_COMPILE_ONLY', true)
      try {
        this.run(candidate)
      } finally {
        tf.env().set('WEBGPU_ENGINE_COMPILE_ONLY', false)
      }
      const own = Object.keys(pipelineCache).filter((key) => !before.has(key))
      return { candidate, own, made: await Promise.allSettled(own.map((key) => pipelineCache[key])) }
    })
    for (const { candidate, own, made } of await Promise.all(compiling)) {
      own.forEach((key, i) => {
        const outcome = made[i]!
        if (outcome.status === 'fulfilled') pipelineCache[key] = outcome.value!
        else delete pipelineCache[key]
      })
      if (made.every(({ status }) => status === 'fulfilled')) usable.push(candidate)
    }
    signal?.throwIfAborted()
    return usable
  }

  dispose(): void {
    for (const { a, b, y } of this.#parts) tf.dispose([a, b, y])
  }
}

/** Makes products on the present device follow a tuning; null for the first candidate of each class. */
export function useTuning(tuning: Tuning | null): void {
  if (onGPU()) useChoices(tuning && choicesOf(tuning))
}

function choicesOf(tuning: Tuning): Choices | null {
  return choicesNamed((shape) => tuning[shape], gpuDevice().limits)
}

/** What a tuning is kept under: the present adapter, what it grants, and the candidates that there were; null off the GPU. */
export function tuningKey(): string | null {
  if (!onGPU()) return null
  const { adapterInfo, limits } = gpuDevice()
  const { vendor, architecture, device, description } = adapterInfo
  const granted = [limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupStorageSize]
  return [`tuning ${CANDIDATES_VERSION}`, vendor, architecture, device, description, ...granted].join(' | ')
}

/** A tuning from what was kept; null where it is none, or names what this device does not take. */
export function readTuning(value: unknown): Tuning | null {
  if (!onGPU() || typeof value !== 'object' || value === null) return null
  const tuning = value as Tuning
  return choicesOf(tuning) && (Object.fromEntries(SHAPES.map((shape) => [shape, tuning[shape]])) as Tuning)
}

/** Where tunings are kept, by {@link tuningKey}. */
export interface TuningStore {
  get(key: string): Promise<unknown>
  set(key: string, tuning: Tuning): Promise<void>
}

/**
 * Makes products follow what was measured on this device before, or is now measured and kept. A device that fails at measuring computes
 * as if it had none.
 * @throws the signal's reason, and what the store throws.
 */
export async function tuneOnce(store: TuningStore, options: TuningOptions = {}): Promise<void> {
  const key = tuningKey()
  if (key === null) return
  let tuning = readTuning(await store.get(key))
  if (!tuning) {
    const measured = await tuneProducts(options).catch(() => null)
    options.signal?.throwIfAborted()
    // Another page may have been faster: all go by the first.
    tuning = readTuning(await store.get(key)) ?? measured
    if (measured && tuning === measured) await store.set(key, measured)
  }
  useTuning(tuning)
}

/** Makes products follow what was kept for this device, where there is something. */
export async function takeUpTuning(store: Pick<TuningStore, 'get'>): Promise<void> {
  const key = tuningKey()
  if (key !== null) useTuning(readTuning(await store.get(key)))
}
