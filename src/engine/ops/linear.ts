/**
 * x·Wᵀ + bias + scale·(dropout(x)·Aᵀ)·Bᵀ in one op with a gradient for x, A and B; or, where W or the bias is a trained variable, x·Wᵀ +
 * bias with theirs. Refuses both at once.
 */
import { tf } from '../tf'
import type { DropoutKey } from './dropout'
import { applyDropout } from './dropout'
import type { FrozenMatrix } from './frozen-matrix'
import { gemm, kFirst, kLast, weights } from './gemm'
import { onGPU } from './gpu'
import { differentiable } from './gradient'
import { columnSums, isTrained } from './trained'

/** A low-rank update `scale · B · A` of a frozen matrix (Hu et al. 2021). */
export interface LoraPair {
  /** `[r, in]` */
  a: tf.Tensor2D
  /** `[out, r]` */
  b: tf.Tensor2D
  /** alpha / r (times the strength), as a number or as a scalar on the device. */
  scale: tf.Scalar | number
  /** Applied to the input of A; leave out outside training. */
  dropout?: DropoutKey
  /** DoRA: the length of each row of the sum, `[out]`, and how much of the whole change is applied (for doraLinear only). */
  lengths?: { m: tf.Tensor1D; strength: number }
}

/** `[m, k] · [k, n]`, no transposition: the layout every backend is fastest in. */
function multiply(a: tf.Tensor2D, b: tf.Tensor2D): tf.Tensor2D {
  return tf.matMul(a, b)
}

/** `[n, in] → [n, out]`. The plain TensorFlow.js form, on any backend. */
export function linearReference(
  x: tf.Tensor2D,
  w: FrozenMatrix,
  bias: tf.Tensor1D | null,
  lora: LoraPair | null,
): tf.Tensor2D {
  const base = (): tf.Tensor2D => {
    const y = w.forward(x)
    return bias ? tf.add(y, bias) : y
  }
  if (!lora) {
    return differentiable<tf.Tensor2D>({ inputs: [x], forward: base, backward: (dy) => [w.backward(dy)] })
  }
  const { a, b, scale, dropout } = lora
  return differentiable<tf.Tensor2D>({
    inputs: [x, a, b],
    forward: (save) => {
      const low = multiply(applyDropout(x, dropout), tf.transpose(a)) // [n, r]
      save([x, a, b, low])
      return tf.add(base(), multiply(tf.mul(low, scale), tf.transpose(b)))
    },
    backward: (dy, saved, asked) => {
      const [x, a, b, low] = saved as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D, tf.Tensor2D]
      const dLow = tf.mul(multiply(dy, b), scale) as tf.Tensor2D // [n, r]
      // Narrow right sides: wasm lays those out anew for each product, which takes longer than to transpose a left one.
      const dA = tf.transpose(multiply(tf.transpose(applyDropout(x, dropout)), dLow))
      const dB = multiply(tf.transpose(dy), tf.mul(low, scale))
      if (!asked.wants(0)) return [null, dA, dB]
      return [tf.add(w.backward(dy), applyDropout(multiply(dLow, a), dropout)), dA, dB]
    },
  })
}

/** The webgpu form: two products forward and four backward, the low-rank parts folded into the large ones. */
function linearProgram(
  x: tf.Tensor2D,
  w: FrozenMatrix,
  bias: tf.Tensor1D | null,
  lora: LoraPair | null,
  plus: tf.Tensor2D | null,
): tf.Tensor2D {
  const added = plus ? [plus] : []
  if (!lora) {
    return differentiable<tf.Tensor2D>({
      inputs: [x, ...added],
      forward: () => gemm({ a: kLast(x), b: weights(w, 'k-last'), bias, plus }),
      backward(dy, _, asked) {
        const own = (): tf.Tensor2D => gemm({ a: kLast(dy), b: weights(w, 'k-first'), plus: asked.plus(0) })
        return [asked.wants(0) ? own() : null, ...added.map(() => dy)]
      },
    })
  }
  const { a, b, scale } = lora
  const key = lora.dropout && lora.dropout.rate > 0 ? lora.dropout : null
  return differentiable<tf.Tensor2D>({
    inputs: [x, a, b, ...added],
    forward: (save) => {
      const low = gemm({ a: kLast(x), b: kLast(a), dropout: key && { key, on: 'a' } }) // [n, r]
      save([x, a, b, low])
      return gemm({ a: kLast(x), b: weights(w, 'k-last'), bias, plus, low: { a: kLast(low), b: kLast(b) }, scale })
    },
    backward: (dy, saved, asked) => {
      const [x, a, b, low] = saved as [tf.Tensor2D, tf.Tensor2D, tf.Tensor2D, tf.Tensor2D]
      const dLow = gemm({ a: kLast(dy), b: kFirst(b), scale }) // [n, r]
      const dA = gemm({ a: kFirst(dLow), b: kFirst(x), dropout: key && { key, on: 'b' } })
      const dB = gemm({ a: kFirst(dy), b: kFirst(low), scale })
      const rest = [dA, dB, ...added.map(() => dy)]
      if (!asked.wants(0)) return [null, ...rest]
      const down = { a: kLast(dLow), b: kFirst(a) }
      const dropout = key && ({ key, on: 'low' } as const)
      const dx = gemm({ a: kLast(dy), b: weights(w, 'k-first'), low: down, dropout, plus: asked.plus(0) })
      return [dx, ...rest]
    },
  })
}

/** x·Wᵀ + bias with gradients for whatever of W `[out, in]` and the bias is trained. */
function trainedLinear(x: tf.Tensor2D, w: FrozenMatrix, bias: tf.Tensor1D | null): tf.Tensor2D {
  const matrix = w.trained
  const shift = isTrained(bias) ? bias : null
  return differentiable<tf.Tensor2D>({
    inputs: [x, ...(matrix ? [matrix] : []), ...(shift ? [shift] : [])],
    forward: (save) => {
      save([x])
      if (onGPU()) return gemm({ a: kLast(x), b: weights(w, 'k-last'), bias })
      const y = w.forward(x)
      return bias ? tf.add(y, bias) : y
    },
    backward: (dy, [x], asked) => {
      const own = (): tf.Tensor =>
        onGPU() ? gemm({ a: kLast(dy), b: weights(w, 'k-first'), plus: asked.plus(0) }) : w.backward(dy)
      const dx = asked.wants(0) ? own() : null
      return [dx, ...(matrix ? [outerSum(dy, x as tf.Tensor2D)] : []), ...(shift ? [columnSums(dy)] : [])]
    },
  })
}

/** dyᵀ·x: the gradient of a weight `[out, in]` from that of its output `[n, out]` and its input `[n, in]`. */
export function outerSum(dy: tf.Tensor2D, x: tf.Tensor2D): tf.Tensor2D {
  return onGPU() ? gemm({ a: kFirst(dy), b: kFirst(x) }) : multiply(tf.transpose(dy), x)
}

/** `[n, in] → [n, out]`: x·Wᵀ + bias + scale·(dropout(x)·Aᵀ)·Bᵀ, and `plus` `[n, out]` where given. Differentiable in that, too. */
export function linear(
  x: tf.Tensor2D,
  w: FrozenMatrix,
  bias: tf.Tensor1D | null,
  lora: LoraPair | null,
  plus: tf.Tensor2D | null = null,
): tf.Tensor2D {
  const isFrozen = !w.trained && !isTrained(bias)
  if (isFrozen && onGPU()) return linearProgram(x, w, bias, lora, plus)
  const y = isFrozen ? linearReference(x, w, bias, lora) : trainedLinear(x, w, bias)
  return plus ? tf.add(plus, y) : y
}

/** `[n, d] → [n, vocab]`: scores of every token; differentiable in `hidden`, bent to softcap · tanh(score / softcap) where a softcap is given. For whole batches prefer crossEntropy, which keeps no such tensor. */
export function logits(hidden: tf.Tensor2D, head: FrozenMatrix, softcap?: number): tf.Tensor2D {
  const scores = linear(hidden, head, null, null)
  return softcap === undefined ? scores : tf.mul(tf.tanh(tf.div(scores, softcap)), softcap)
}
