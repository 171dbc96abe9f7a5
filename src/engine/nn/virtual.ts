/**
 * Positions that stand before every example without a token of their own: prompt tuning fills their embeddings, prefix tuning their keys
 * and values. Refuses to know what they hold.
 */
import { tf } from '../tf'
import type { Pass } from './network'

/** Which of a pass's positions are virtual. */
export interface VirtualPositions {
  /** `[positions, count]`: 1 where a position is the i-th virtual one of its example. */
  readonly select: tf.Tensor2D
  /** `[positions, 1]`: 0 where a position is virtual, else 1. */
  readonly keep: tf.Tensor2D
}

/** The values of {@link VirtualPositions} for `size` positions, `count` virtual ones from each of `offsets` on. */
export function virtualMasks(
  size: number,
  count: number,
  offsets: readonly number[],
): { select: Float32Array; keep: Float32Array } {
  const select = new Float32Array(size * count)
  const keep = new Float32Array(size).fill(1)
  for (const offset of offsets) {
    for (let i = 0; i < count; i++) {
      select[(offset + i) * count + i] = 1
      keep[offset + i] = 0
    }
  }
  return { select, keep }
}

/** Virtual positions at the start of a pass of `size` positions; null for none. Call it inside tf.tidy. */
export function virtualStart(size: number, count: number): VirtualPositions | null {
  if (count === 0) return null
  const { select, keep } = virtualMasks(size, count, [0])
  return { select: tf.tensor2d(select, [size, count]), keep: tf.tensor2d(keep, [size, 1]) }
}

/** `[positions, d]` with the rows of `values` `[count, d]` at virtual positions. Differentiable in both. */
export function placeVirtual(x: tf.Tensor2D, values: tf.Tensor2D, { select, keep }: VirtualPositions): tf.Tensor2D {
  return tf.add(tf.mul(x, keep), tf.matMul(select, values))
}

/** Embedded tokens with what the pass puts into their places. */
export function overlaid(x: tf.Tensor2D, pass: Pass): tf.Tensor2D {
  return pass.overlay?.embedded?.(x, pass) ?? x
}
