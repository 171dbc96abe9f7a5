/** RMSNorm and LayerNorm over the last axis; weight and bias have a gradient where they are trained variables. Refuse other axes. */
import { tf } from '../tf'
import { dispatch, emptyTensor, onGPU, spread } from './gpu'
import { differentiable } from './gradient'
import { rowMain, rowThreads, totalWGSL } from './reduce'
import { columnSums, isTrained } from './trained'

// A weight may be made for the pass (one that is trained without its shift), and gone when the gradient is asked for: it is saved.

/** Weight and bias as inputs of the tape, where they are trained. */
function trainedOf(weight: tf.Tensor1D, bias: tf.Tensor1D | null = null): tf.Tensor[] {
  return [weight, bias].filter(isTrained)
}

/** Their gradients, from dy and the product of dy with the normalised rows. */
function gradientsOf(
  weight: tf.Tensor1D,
  bias: tf.Tensor1D | null,
  dy: tf.Tensor2D,
  along: () => tf.Tensor2D,
): tf.Tensor[] {
  return [...(isTrained(weight) ? [columnSums(along())] : []), ...(isTrained(bias) ? [columnSums(dy)] : [])]
}

/** `[n, d] → [n, d]`: x / sqrt(mean(x²) + eps) · weight (Zhang & Sennrich 2019). Plain TensorFlow.js, any backend. */
export function rmsNormReference(x: tf.Tensor2D, weight: tf.Tensor1D, eps: number): tf.Tensor2D {
  const inverse = (x: tf.Tensor2D): tf.Tensor2D => tf.rsqrt(tf.add(tf.mean(tf.square(x), 1, true), eps))
  return differentiable<tf.Tensor2D>({
    inputs: [x, ...trainedOf(weight)],
    forward: (save) => {
      save([x, weight])
      return tf.mul(tf.mul(x, inverse(x)), weight)
    },
    backward: (dy, saved) => {
      const [x, held] = saved as [tf.Tensor2D, tf.Tensor1D]
      const r = inverse(x)
      const normal = tf.mul(x, r)
      const dNormal = tf.mul(dy, held)
      const along = tf.mean(tf.mul(dNormal, normal), 1, true)
      const dx = tf.mul(tf.sub(dNormal, tf.mul(normal, along)), r)
      return [dx, ...gradientsOf(weight, null, dy, () => tf.mul(dy, normal))]
    },
  })
}

/** Statistics of a row: `mean` (0 unless centred) and `r`, the inverse of the root; x is read twice, the second time from cache. */
function statistics(centred: boolean): string {
  const sums = centred
    ? `var part = 0.0;
    for (var c = tid; c < u.d; c += ${rowThreads()}u) { part += x[base + c]; }
    let mean = total(tid, vec2<f32>(part, 0.0)).x / f32(u.d);`
    : 'let mean = 0.0;'
  return `let base = row * u.d;
    ${sums}
    var square = 0.0;
    for (var c = tid; c < u.d; c += ${rowThreads()}u) { let off = x[base + c] - mean; square += off * off; }
    let r = inverseSqrt(total(tid, vec2<f32>(square, 0.0)).x / f32(u.d) + u.eps);`
}

/** The webgpu form of both norms: one workgroup a row, forward and backward. */
function normProgram(
  x: tf.Tensor2D,
  weight: tf.Tensor1D,
  bias: tf.Tensor1D | null,
  eps: number,
  centred: boolean,
): tf.Tensor2D {
  const [rows, d] = x.shape
  const common = { uniforms: { rows, d, eps }, floats: ['eps'], workgroups: spread(rows) }
  const run = (
    key: string,
    input: tf.Tensor2D,
    held: tf.Tensor,
    { dy, plus }: { dy?: tf.Tensor2D; plus?: tf.Tensor | null },
    body: string,
  ): tf.Tensor2D => {
    const y = emptyTensor<tf.Rank.R2>([rows, d])
    dispatch({
      ...common,
      key: `norm ${key} ${centred ? 'layer' : 'rms'}`,
      bindings: {
        y: { tensor: y, type: 'f32', write: true },
        x: { tensor: input, type: 'f32' },
        weight: { tensor: held, type: 'f32' },
        ...(dy ? { dy: { tensor: dy, type: 'f32' } } : bias ? { bias: { tensor: bias, type: 'f32' } } : {}),
        ...(plus ? { plus: { tensor: plus, type: 'f32' } } : {}),
      },
      code: () => `${totalWGSL('vec2<f32>')}\n${rowMain(statistics(centred) + body)}`,
    })
    return y
  }
  return differentiable<tf.Tensor2D>({
    inputs: [x, ...trainedOf(weight, bias)],
    forward: (save) => {
      save([x, weight])
      return run('forward', x, weight, {}, forwardBody(bias !== null))
    },
    backward: (dy, saved, asked) => {
      const [x, held] = saved as [tf.Tensor2D, tf.Tensor1D]
      const plus = asked.plus(0)
      return [
        run('backward', x, held, { dy, plus }, backwardBody(centred, plus !== null)),
        ...gradientsOf(weight, bias, dy, () => run('weight', x, held, { dy }, weightBody())),
      ]
    },
  })
}

function forwardBody(bias: boolean): string {
  return `for (var c = tid; c < u.d; c += ${rowThreads()}u) {
      y[base + c] = (x[base + c] - mean) * r * weight[c]${bias ? ' + bias[c]' : ''};
    }`
}

function backwardBody(centred: boolean, plus: boolean): string {
  return `var sums = vec2<f32>(0.0); // of g and of g · normal, g the gradient of the normalised row
    for (var c = tid; c < u.d; c += ${rowThreads()}u) {
      let g = dy[base + c] * weight[c];
      sums += vec2<f32>(g, g * (x[base + c] - mean) * r);
    }
    let means = total(tid, sums) / f32(u.d);
    for (var c = tid; c < u.d; c += ${rowThreads()}u) {
      let normal = (x[base + c] - mean) * r;
      y[base + c] = (dy[base + c] * weight[c]${centred ? ' - means.x' : ''} - normal * means.y) * r${plus ? ' + plus[base + c]' : ''};
    }`
}

/** dy · normal, whose sum over rows is the weight's gradient; the weight is named because every binding must be. */
function weightBody(): string {
  return `_ = weight[0];
    for (var c = tid; c < u.d; c += ${rowThreads()}u) { y[base + c] = dy[base + c] * (x[base + c] - mean) * r; }`
}

/** `[n, d] → [n, d]`: x / sqrt(mean(x²) + eps) · weight. */
export function rmsNorm(x: tf.Tensor2D, weight: tf.Tensor1D, eps: number): tf.Tensor2D {
  return onGPU() ? normProgram(x, weight, null, eps, false) : rmsNormReference(x, weight, eps)
}

/** `[n, d] → [n, d]`: (x − mean) / sqrt(variance + eps) · weight + bias (Ba et al. 2016). Plain TensorFlow.js, any backend. */
export function layerNormReference(
  x: tf.Tensor2D,
  weight: tf.Tensor1D,
  bias: tf.Tensor1D | null,
  eps: number,
): tf.Tensor2D {
  const normalise = (x: tf.Tensor2D): { normal: tf.Tensor2D; r: tf.Tensor2D } => {
    const centred = tf.sub(x, tf.mean(x, 1, true)) as tf.Tensor2D
    const r = tf.rsqrt(tf.add(tf.mean(tf.square(centred), 1, true), eps)) as tf.Tensor2D
    return { normal: tf.mul(centred, r), r }
  }
  return differentiable<tf.Tensor2D>({
    inputs: [x, ...trainedOf(weight, bias)],
    forward: (save) => {
      save([x, weight])
      const y = tf.mul(normalise(x).normal, weight) as tf.Tensor2D
      return bias ? tf.add(y, bias) : y
    },
    backward: (dy, saved) => {
      const { normal, r } = normalise(saved[0] as tf.Tensor2D)
      const dNormal = tf.mul(dy, saved[1] as tf.Tensor1D)
      const along = tf.mul(normal, tf.mean(tf.mul(dNormal, normal), 1, true))
      const dx = tf.mul(tf.sub(tf.sub(dNormal, tf.mean(dNormal, 1, true)), along), r)
      return [dx, ...gradientsOf(weight, bias, dy, () => tf.mul(dy, normal))]
    },
  })
}

/** `[n, d] → [n, d]`: (x − mean) / sqrt(variance + eps) · weight + bias. */
export function layerNorm(x: tf.Tensor2D, weight: tf.Tensor1D, bias: tf.Tensor1D | null, eps: number): tf.Tensor2D {
  return onGPU() ? normProgram(x, weight, bias, eps, true) : layerNormReference(x, weight, bias, eps)
}
