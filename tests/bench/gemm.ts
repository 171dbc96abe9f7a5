/**
 * Matrix products by shape and form: Finetab's, TensorFlow.js's and jax-js's, in turns, in GFLOP/s. Refuses to compare results:
 * the engine's tests do that.
 */
import { blockUntilReady, defaultDevice, init, numpy as np } from '@jax-js/jax'
import { FrozenMatrix } from '../../src/engine/ops'
import { gemm, kFirst, kLast, weights } from '../../src/engine/ops/gemm'
import { planOf, type Sizes } from '../../src/engine/ops/gemm-tile'
import { tuneProducts, useTuning } from '../../src/engine/ops/gemm-tuning'
import { tf } from '../../src/engine/tf'
import { ownRival, race, type Rival } from './measure'
import { seeded } from './shapes'

/** As training needs them: forward, gradient of x, gradient of a weight. W is `[n, k]` in the first and `[k, n]` in the second. */
export type Form = 'x·Wᵀ' | 'dy·W' | 'aᵀ·b'

export interface GemmRow {
  /** C is `[m, n]`, and k what is summed over. */
  m: number
  k: number
  n: number
  form: Form
  /** 10⁹ multiplications and additions a second, by library. */
  gflops: Record<string, number>
  /** How Finetab cuts it up on webgpu: rows and columns of a workgroup and of a thread, and slices of k. */
  plan?: string
}

type Case = [m: number, k: number, n: number, form: Form]

/** From the models of the step bench, largest last; a low-rank part and its gradient among them. */
const CASES: Case[] = [
  [512, 192, 512, 'x·Wᵀ'],
  [512, 512, 192, 'dy·W'],
  [512, 192, 4096, 'x·Wᵀ'],
  [512, 576, 16, 'x·Wᵀ'],
  [16, 512, 576, 'aᵀ·b'],
  [512, 576, 1536, 'x·Wᵀ'],
  [512, 1536, 576, 'dy·W'],
]
/** What a processor takes too long over. */
const LARGE: Case[] = [
  [512, 576, 49152, 'x·Wᵀ'],
  [2048, 2048, 2048, 'x·Wᵀ'],
  [2048, 2048, 2048, 'dy·W'],
  [4096, 4096, 4096, 'x·Wᵀ'],
]

/** Bytes of results that may wait for the device at once. */
const WAITING = 2 ** 27

export async function benchGemm(backend: 'wasm' | 'webgpu', large: boolean): Promise<GemmRow[]> {
  const jax = (await init(backend)).includes(backend)
  if (jax) defaultDevice(backend)
  if (backend === 'webgpu') useTuning(await tuneProducts()) // null on software
  const rows: GemmRow[] = []
  for (const [m, k, n, form] of large ? [...CASES, ...LARGE] : CASES) {
    const rivals = [...ownRivals(m, k, n, form, backend), ...(jax ? [jaxRival(m, k, n, form)] : [])]
    const most = Math.max(1, Math.min(64, Math.floor(WAITING / (4 * m * n))))
    const times = await race(rivals, { most, turns: large || backend === 'wasm' ? 5 : 3 })
    const flop = 2 * m * k * n
    const gflops = Object.fromEntries(Object.entries(times).map(([name, ms]) => [name, flop / ms / 1e6]))
    rows.push({ m, k, n, form, gflops, ...(backend === 'webgpu' ? { plan: planWords({ m, n, k }) } : {}) })
    for (const rival of rivals) rival.dispose()
  }
  return rows
}

function planWords(sizes: Sizes): string {
  const { tile, slices } = planOf(sizes, { plain: true, whole: false })
  const { tm, tn, wy, wx } = tile
  return `${tm * wy}x${tn * wx}, ${tm}x${tn}${slices > 1 ? `, ${slices} slices` : ''}`
}

/** Stored shapes of both factors. */
function stored(m: number, k: number, n: number, form: Form): [[number, number], [number, number]] {
  return [form === 'aᵀ·b' ? [k, m] : [m, k], form === 'x·Wᵀ' ? [n, k] : [k, n]]
}

function ownRivals(m: number, k: number, n: number, form: Form, backend: 'wasm' | 'webgpu'): Rival[] {
  const [sa, sb] = stored(m, k, n, form)
  const a = tf.keep(tf.tensor2d(seeded(m * k, 1, 1), sa))
  const b = tf.keep(tf.tensor2d(seeded(k * n, 2, 1), sb))
  const w = FrozenMatrix.from(seeded(k * n, 2, 1), ...sb)
  const ours = {
    'x·Wᵀ': () => (backend === 'webgpu' ? gemm({ a: kLast(a), b: weights(w, 'k-last') }) : w.forward(a)),
    'dy·W': () => (backend === 'webgpu' ? gemm({ a: kLast(a), b: weights(w, 'k-first') }) : w.backward(a)),
    'aᵀ·b': () => (backend === 'webgpu' ? gemm({ a: kFirst(a), b: kFirst(b) }) : tf.matMul(tf.transpose(a), b)),
  }[form]
  const own = ownRival('finetab', ours)
  return [
    {
      ...own,
      dispose() {
        tf.dispose([a, b])
        w.dispose()
      },
    },
    ownRival('tfjs', () => tf.matMul(a, b, form === 'aᵀ·b', form === 'x·Wᵀ')),
  ]
}

function jaxRival(m: number, k: number, n: number, form: Form): Rival {
  const [sa, sb] = stored(m, k, n, form)
  const a = np.array(seeded(m * k, 1, 1)).reshape(sa)
  const b = np.array(seeded(k * n, 2, 1)).reshape(sb)
  let results: np.Array[] = []
  return {
    name: 'jax',
    run() {
      const left = form === 'aᵀ·b' ? a.ref.transpose() : a.ref
      const right = form === 'x·Wᵀ' ? b.ref.transpose() : b.ref
      results.push(np.matmul(left, right))
    },
    async wait() {
      await blockUntilReady(results)
      for (const result of results) result.dispose()
      results = []
    },
    dispose() {
      a.dispose()
      b.dispose()
    },
  }
}
