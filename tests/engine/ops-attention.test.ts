/** Attention and rope against naive compositions, finite differences and their own plain forms. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { attention, rope, type AttentionOptions } from '../../src/engine/ops'
import { attentionReference } from '../../src/engine/ops/attention'
import { attentionTile } from '../../src/engine/ops/attention-tile'
import { ropeReference } from '../../src/engine/ops/rope'
import { tf } from '../../src/engine/tf'
import { expectClose, expectFiniteDifference, onWebGPU, random, tapeGradients, values } from '../support/backends'

interface Case {
  b: number
  t: number
  h: number
  kv: number
  d: number
  past: number
  window?: number
  softcap?: number
  /** Empty slots of a cache after the last key that counts. */
  spare?: number
}

/** Few head sizes, for every one is a program of its own: odd, one and five groups of four, more groups than threads in a row. */
const CASES: Case[] = [
  { b: 1, t: 1, h: 1, kv: 1, d: 5, past: 0 },
  { b: 2, t: 5, h: 4, kv: 2, d: 8, past: 0 },
  { b: 1, t: 7, h: 3, kv: 1, d: 8, past: 4 },
  { b: 1, t: 1, h: 4, kv: 4, d: 5, past: 9 },
  { b: 2, t: 11, h: 2, kv: 2, d: 8, past: 0, window: 3 },
  { b: 1, t: 70, h: 2, kv: 1, d: 8, past: 3 },
  { b: 1, t: 67, h: 2, kv: 2, d: 8, past: 0, window: 40 },
  { b: 1, t: 19, h: 3, kv: 3, d: 36, past: 0 },
  { b: 2, t: 6, h: 4, kv: 2, d: 8, past: 0, softcap: 1.5 },
  { b: 1, t: 3, h: 2, kv: 1, d: 8, past: 5, window: 6, softcap: 2, spare: 17 },
]

function inputsOf({ b, t, h, kv, d, past, spare = 0 }: Case): [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D] {
  const s = past + t + spare
  return [
    random<tf.Rank.R4>([b, t, h, d], 1, 2),
    random<tf.Rank.R4>([b, s, kv, d], 2, 2),
    random<tf.Rank.R4>([b, s, kv, d], 3, 2),
  ]
}

/** Keys and values repeated for every head, one big mask, batched products: the textbook's way. */
function naive(q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, options: AttentionOptions): tf.Tensor {
  const { scale, past, window, softcap } = options
  const [, t, h] = q.shape as [number, number, number, number]
  const [b, s, kv, d] = k.shape as [number, number, number, number]
  const spread = (x: tf.Tensor): tf.Tensor => {
    const one = tf.reshape(x, [b, s, kv, 1, d])
    const wide = tf.concat(
      Array.from({ length: h / kv }, () => one),
      3,
    )
    return tf.transpose(tf.reshape(wide, [b, s, h, d]), [0, 2, 1, 3])
  }
  const allowed = Array.from({ length: t }, (_, i) =>
    Array.from({ length: s }, (_, j) => (j <= past + i && j > past + i - (window ?? s + 1) ? 0 : -1e9)),
  )
  const raw = tf.mul(tf.matMul(tf.transpose(q, [0, 2, 1, 3]), spread(k), false, true), scale)
  const scores = softcap === undefined ? raw : tf.mul(tf.tanh(tf.div(raw, softcap)), softcap)
  const p = tf.softmax(tf.add(scores, tf.tensor2d(allowed)))
  return tf.transpose(tf.matMul(p, spread(v)), [0, 2, 1, 3])
}

describe.each(CASES)('attention b $b t $t h $h kv $kv d $d past $past window $window softcap $softcap', (shape) => {
  const { past, window, softcap } = shape
  const options: AttentionOptions = { scale: 1 / Math.sqrt(shape.d), past, window, softcap }
  const run =
    (op: typeof attention) =>
    (...[q, k, v]: tf.Tensor[]): tf.Tensor =>
      op(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, options)

  test('equals the textbook’s and its plain form', async () => {
    const inputs = inputsOf(shape)
    const own = run(attention)(...inputs)
    await expectClose(own, naive(...inputs, options), 1e-5, 'naive')
    await expectClose(own, run(attentionReference)(...inputs), 1e-5, 'plain form')
  })

  test('has the same gradients', async () => {
    const inputs = inputsOf(shape)
    const own = tapeGradients(run(attention), inputs)
    const textbook = tapeGradients((q, k, v) => naive(q!, k!, v!, options), inputs)
    const plain = tapeGradients(run(attentionReference), inputs)
    for (const [i, gradient] of own.entries()) {
      await expectClose(gradient, textbook[i]!, 2e-5, `naive, input ${i}`)
      await expectClose(gradient, plain[i]!, 1e-5, `plain form, input ${i}`)
    }
  })
})

/** Examples of these lengths one after the other, row by row. */
const PACKED: { lengths: number[][]; h: number; kv: number; d: number; window?: number; softcap?: number }[] = [
  { lengths: [[5, 1, 12, 2]], h: 2, kv: 1, d: 8 },
  { lengths: [[9, 21, 37], [67], [1, 1, 65]], h: 2, kv: 2, d: 8 }, // prettier-ignore
  { lengths: [[30, 3, 34]], h: 2, kv: 1, d: 8, window: 7 },
  { lengths: [[2, 6, 3], [4, 7]], h: 3, kv: 3, d: 5, softcap: 1.5 }, // prettier-ignore
]

describe.each(PACKED)('attention of packed examples $lengths h $h kv $kv window $window softcap $softcap', (shape) => {
  const { lengths, h, kv, d, window, softcap } = shape
  const [b, t] = [lengths.length, lengths[0]!.reduce((sum, length) => sum + length, 0)]
  const host = Int32Array.from(
    lengths.flatMap((row) => {
      let end = 0
      return row.flatMap((length) => new Array<number>(length).fill((end += length) - length))
    }),
  )
  const packed = (): AttentionOptions => ({
    scale: 0.4,
    past: 0,
    window,
    softcap,
    starts: { host, device: tf.tensor1d(host, 'int32') },
  })
  const inputs = (): tf.Tensor[] => [
    random<tf.Rank.R4>([b, t, h, d], 1, 2),
    random<tf.Rank.R4>([b, t, kv, d], 2, 2),
    random<tf.Rank.R4>([b, t, kv, d], 3, 2),
  ]
  const run =
    (op: typeof attention) =>
    (...[q, k, v]: tf.Tensor[]): tf.Tensor =>
      op(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, packed())
  /** Each example cut out and attended to alone. */
  const alone = (...xs: tf.Tensor[]): tf.Tensor =>
    tf.concat(
      lengths.map((row, r) => {
        let end = 0
        const parts = row.map((length) => {
          const from = (end += length) - length
          const [q, k, v] = xs.map((x) => tf.slice(x, [r, from, 0, 0], [1, length, x.shape[2]!, d]))
          return naive(q!, k!, v!, { scale: 0.4, past: 0, window, softcap })
        })
        return tf.concat(parts, 1)
      }),
      0,
    )

  test('equals attention over each alone', async () => {
    const xs = inputs()
    await expectClose(run(attention)(...xs), alone(...xs), 1e-5, 'alone')
    await expectClose(run(attentionReference)(...xs), alone(...xs), 1e-5, 'plain form')
  })

  test('has the same gradients', async () => {
    const xs = inputs()
    const [own, plain, wanted] = [run(attention), run(attentionReference), alone].map((f) => tapeGradients(f, xs))
    for (const [i, gradient] of wanted!.entries()) {
      await expectClose(own![i]!, gradient, 2e-5, `input ${i}`)
      await expectClose(plain![i]!, gradient, 2e-5, `plain form, input ${i}`)
    }
  })
})

test('attention refuses packed examples with a past', () => {
  const [q, k, v] = inputsOf({ b: 1, t: 2, h: 1, kv: 1, d: 4, past: 1 })
  const host = Int32Array.from([0, 1])
  const starts = { host, device: tf.tensor1d(host, 'int32') }
  expect(() => attention(q, k, v, { scale: 1, past: 1, starts })).toThrow('starts 2')
})

describe.skipIf(!onWebGPU()).each([16, 32])('attention in tiles of %i', (tile) => {
  const options: AttentionOptions = { scale: 0.4, past: 2 }
  const shape: Case = { b: 1, t: 41, h: 2, kv: 1, d: 8, past: 2 }
  const run =
    (op: typeof attention) =>
    (...[q, k, v]: tf.Tensor[]): tf.Tensor =>
      op(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, options)
  beforeAll(() => {
    attentionTile.override = tile
  })
  afterAll(() => {
    attentionTile.override = null
  })

  test('equals its plain form, gradients too', async () => {
    const inputs = inputsOf(shape)
    await expectClose(run(attention)(...inputs), run(attentionReference)(...inputs))
    const [own, plain] = [tapeGradients(run(attention), inputs), tapeGradients(run(attentionReference), inputs)]
    for (const [i, gradient] of own.entries()) await expectClose(gradient, plain[i]!, 1e-5, `input ${i}`)
  })

  test('equals its plain form over packed examples', async () => {
    const host = Int32Array.from({ length: 71 }, (_, i) => (i < 3 ? 0 : i < 36 ? 3 : i < 64 ? 36 : 64))
    const packed = { scale: 0.4, past: 0, starts: { host, device: tf.tensor1d(host, 'int32') } }
    const inputs = inputsOf({ ...shape, t: 71, past: 0 })
    const of =
      (op: typeof attention) =>
      (...[q, k, v]: tf.Tensor[]): tf.Tensor =>
        op(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, packed)
    await expectClose(of(attention)(...inputs), of(attentionReference)(...inputs))
    const [own, plain] = [tapeGradients(of(attention), inputs), tapeGradients(of(attentionReference), inputs)]
    for (const [i, gradient] of own.entries()) await expectClose(gradient, plain[i]!, 1e-5, `input ${i}`)
  })
})

test.skipIf(onWebGPU())('finite differences confirm the gradients of attention', async () => {
  const options = { scale: 0.6, past: 2, window: 4, softcap: 1.2 }
  const inputs = inputsOf({ b: 1, t: 4, h: 2, kv: 1, d: 3, past: 2 })
  await expectFiniteDifference(
    (q, k, v) => attention(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, options),
    inputs,
  )
})

test('attention refuses shapes that do not fit', () => {
  const [q, k, v] = inputsOf({ b: 1, t: 3, h: 3, kv: 2, d: 4, past: 0 })
  expect(() => attention(q, k, v, { scale: 1, past: 0 })).toThrow('attention of q [1,3,3,4]')
  const [q2, k2, v2] = inputsOf({ b: 1, t: 3, h: 2, kv: 2, d: 4, past: 0 })
  expect(() => attention(q2, k2, v2, { scale: 1, past: 1 })).toThrow('past 1')
})

describe.each([
  { b: 1, t: 1, h: 1, d: 2, rot: 2 },
  { b: 2, t: 5, h: 3, d: 8, rot: 8 },
  { b: 1, t: 7, h: 2, d: 10, rot: 4 },
  { b: 2, t: 3, h: 5, d: 64, rot: 64 },
])('rope b $b t $t h $h d $d, $rot channels turned', ({ b, t, h, d, rot }) => {
  const half = rot / 2
  const angles = values(t * half, 4, 3)
  // on the host: a GPU's own sine and cosine are only good to about 4e-4
  const cos = tf.tensor2d(angles.map(Math.cos), [t, half])
  const sin = tf.tensor2d(angles.map(Math.sin), [t, half])
  const x = random<tf.Rank.R4>([b, t, h, d], 5)

  test('turns pairs (i, i + rot/2)', async () => {
    const [xs, c, s] = [await x.array(), await cos.array(), await sin.array()]
    const wanted = xs.map((batch) =>
      batch.map((step, time) =>
        step.map((head) =>
          head.map((value, i) => {
            if (i >= rot) return value
            const angle = i % half
            const partner = i < half ? -head[i + half]! : head[i - half]!
            return value * c[time]![angle]! + partner * s[time]![angle]!
          }),
        ),
      ),
    )
    await expectClose(rope(x, cos, sin), tf.tensor4d(wanted), 1e-6)
  })

  test('equals its plain form, gradient too, and the gradient turns back', async () => {
    await expectClose(rope(x, cos, sin), ropeReference(x, cos, sin), 1e-6)
    const [own] = tapeGradients((x) => rope(x as tf.Tensor4D, cos, sin), [x])
    const [plain] = tapeGradients((x) => ropeReference(x as tf.Tensor4D, cos, sin), [x])
    await expectClose(own!, plain!, 1e-6)
    const weights = random<tf.Rank.R4>([b, t, h, d], 99)
    await expectClose(rope(own as tf.Tensor4D, cos, sin), weights, 1e-5, 'turned forth again')
  })

  test('takes the row of the tables that it is told', async () => {
    const host = Int32Array.from({ length: b * t }, (_, i) => (i * 7 + 3) % t)
    const within = { host, device: tf.tensor1d(host, 'int32') }
    const tables = [cos, sin].map((table) => tf.gather(table, within.device) as tf.Tensor2D) as [
      tf.Tensor2D,
      tf.Tensor2D,
    ]
    const one = (y: tf.Tensor): tf.Tensor => tf.reshape(y, [1, b * t, h, d])
    const spread = (x: tf.Tensor): tf.Tensor => rope(one(x) as tf.Tensor4D, ...tables)
    await expectClose(one(rope(x, cos, sin, within)), spread(x), 1e-6)
    await expectClose(one(ropeReference(x, cos, sin, within)), spread(x), 1e-6, 'plain form')
    const [own] = tapeGradients((x) => one(rope(x as tf.Tensor4D, cos, sin, within)), [x])
    const [wanted] = tapeGradients(spread, [x])
    await expectClose(own!, wanted!, 1e-6, 'gradient')
  })
})
