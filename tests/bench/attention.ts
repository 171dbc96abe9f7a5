/**
 * Attention forward and backward by length, Finetab's beside the plain form that keeps all scores: time must grow with the square
 * of the length, memory with the length. Refuses shapes other than SmolLM2's heads.
 */
import { attention, attentionReference } from '../../src/engine/ops/attention'
import { gpuBackend, onGPU } from '../../src/engine/ops/gpu'
import { ReplayPool } from '../../src/engine/ops/replay-pool'
import { tf } from '../../src/engine/tf'
import { measurePeak } from '../support/peak'
import { deviceDone, ownRival, race } from './measure'
import { seeded } from './shapes'

export interface AttentionRow {
  length: number
  /** Median ms of forward and backward. */
  ms: { finetab: number; plain: number }
  /** The most bytes held beyond queries, keys and values. */
  bytes: { finetab: number; plain: number }
}

const [HEADS, KV, WIDTH] = [9, 3, 64]

/** @param plainUpTo the plain form takes gigabytes, or minutes, beyond this length. */
export async function benchAttention(lengths: readonly number[], plainUpTo: number): Promise<AttentionRow[]> {
  const rows: AttentionRow[] = []
  for (const length of lengths) rows.push(await atLength(length, length <= plainUpTo))
  return rows
}

async function atLength(length: number, plain: boolean): Promise<AttentionRow> {
  const heads = [HEADS, KV, KV]
  const inputs = heads.map((count, i) => {
    const values = seeded(length * count * WIDTH, i + 1, 1)
    return tf.keep(tf.tensor4d(values, [1, length, count, WIDTH]))
  })
  const gradients = (op: typeof attention) => {
    const run = (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor): tf.Tensor =>
      tf.sum(op(q as tf.Tensor4D, k as tf.Tensor4D, v as tf.Tensor4D, { scale: WIDTH ** -0.5, past: 0 }))
    return () => tf.grads(run as (...xs: tf.Tensor[]) => tf.Tensor)(inputs)
  }
  const ops = plain ? { finetab: attention, plain: attentionReference } : { finetab: attention }
  const bytes = { finetab: Number.NaN, plain: Number.NaN }
  for (const [name, op] of Object.entries(ops)) {
    await deviceDone()
    if (onGPU()) ReplayPool.of(gpuBackend()).trim() // or the second would use the first one's buffers
    const { peak } = await measurePeak(async () => {
      tf.tidy(() => void gradients(op)())
      await deviceDone()
    })
    bytes[name as keyof typeof bytes] = peak
  }
  const rivals = Object.entries(ops).map(([name, op]) => ownRival(name, gradients(op)))
  const ms = (await race(rivals, { turns: 3, most: 8 })) as AttentionRow['ms']
  tf.dispose(inputs)
  return { length, ms: { finetab: ms.finetab, plain: ms.plain ?? Number.NaN }, bytes }
}
