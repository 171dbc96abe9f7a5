/**
 * AdamW as PyTorch computes it, and the sum of squares that clipping needs.
 * Refuses to own state: the caller keeps parameter and moments as variables, which are updated in place.
 */
import { tf } from '../tf'
import { dispatch, emptyTensor, onGPU, spread, type Binding } from './gpu'
import { heapTensor, hostNumber, onHeap, views } from './heap'
import { elementMain, rowThreads, totalWGSL } from './reduce'

/** Everything an update depends on. What changes between steps may be a scalar on the device, so that a recorded step can be replayed. */
export interface AdamHyper {
  learningRate: number | tf.Scalar
  beta1: number
  beta2: number
  /** Added to the root, outside it. */
  epsilon: number
  /** Decoupled: the parameter shrinks by learningRate · weightDecay. */
  weightDecay: number
  /** 1 for the first update. */
  step: number | tf.Scalar
  /** Factor on the gradient (1 where it is not clipped). */
  clip: number | tf.Scalar
}

function assign(variable: tf.Variable, value: tf.Tensor): void {
  variable.assign(value)
  value.dispose()
}

/** 1 − betaᵗ; on the device through expm1, because 1 − 0.999 loses four digits in f32. */
function biasCorrection(beta: number, step: number | tf.Scalar): number | tf.Tensor {
  if (typeof step === 'number') return 1 - beta ** step
  return tf.neg(tf.expm1(tf.mul(step, Math.log(beta))))
}

/** The plain TensorFlow.js form of {@link adamwUpdate}. */
export function adamwUpdateReference(
  param: tf.Variable,
  grad: tf.Tensor,
  m: tf.Variable,
  v: tf.Variable,
  h: AdamHyper,
): void {
  const [nextM, nextV, next] = tf.tidy(() => {
    const g = tf.mul(grad, h.clip)
    const nextM = tf.add(tf.mul(m, h.beta1), tf.mul(g, 1 - h.beta1))
    const nextV = tf.add(tf.mul(v, h.beta2), tf.mul(tf.square(g), 1 - h.beta2))
    const correction1 = biasCorrection(h.beta1, h.step)
    const correction2 = biasCorrection(h.beta2, h.step)
    const root = tf.add(tf.sqrt(tf.div(nextV, correction2)), h.epsilon)
    const shrunk = tf.mul(param, tf.sub(1, tf.mul(h.learningRate, h.weightDecay)))
    const next = tf.sub(shrunk, tf.mul(tf.div(nextM, root), tf.div(h.learningRate, correction1)))
    return [nextM, nextV, next] as const
  })
  assign(m, nextM)
  assign(v, nextV)
  assign(param, next)
}

/**
 * One AdamW update of `param` and its moments, all of the gradient's shape:
 * g ← clip·grad; m ← β1·m + (1−β1)·g; v ← β2·v + (1−β2)·g²;
 * p ← p·(1 − lr·decay) − lr·(m/(1−β1ᵗ)) / (sqrt(v/(1−β2ᵗ)) + eps). Source: torch.optim.AdamW.
 */
export function adamwUpdate(param: tf.Variable, grad: tf.Tensor, m: tf.Variable, v: tf.Variable, h: AdamHyper): void {
  if (onGPU()) adamwProgram(param, grad, m, v, h)
  else if (onHeap()) adamwHeap(param, grad, m, v, h)
  else adamwUpdateReference(param, grad, m, v, h)
}

/**
 * The wasm form: moments in place, in f64. The parameter gets new memory, because that backend's products keep packed copies
 * of their right factor by tensor and would not see a change in place.
 */
function adamwHeap(param: tf.Variable, grad: tf.Tensor, m: tf.Variable, v: tf.Variable, h: AdamHyper): void {
  const [rate, step, clip] = [hostNumber(h.learningRate), hostNumber(h.step), hostNumber(h.clip)]
  const next = heapTensor(param.shape as [number])
  const [p, g, first, second, out] = views(param, grad, m, v, next) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ]
  const shrink = 1 - rate * h.weightDecay
  const pace = rate / (1 - h.beta1 ** step)
  const rootScale = 1 / Math.sqrt(1 - h.beta2 ** step)
  for (let i = 0; i < p.length; i++) {
    const slope = g[i]! * clip
    const a = (first[i] = h.beta1 * first[i]! + (1 - h.beta1) * slope)
    const b = (second[i] = h.beta2 * second[i]! + (1 - h.beta2) * slope * slope)
    out[i] = p[i]! * shrink - (pace * a) / (Math.sqrt(b) * rootScale + h.epsilon)
  }
  assign(param, next)
}

/** Numbers of an update that may lie on the device. */
type Changing = Readonly<Record<string, number | tf.Scalar>>

/** A number for a uniform; 0 where it lies on the device instead. */
export const plain = (value: number | tf.Scalar): number => (typeof value === 'number' ? value : 0)

/** Bindings `NAME_on_device` of those that lie there. */
export function scalarBindings(changing: Changing): Record<string, Binding> {
  const bindings: Record<string, Binding> = {}
  for (const [name, value] of Object.entries(changing))
    if (typeof value !== 'number') bindings[`${name}_on_device`] = { tensor: value, type: 'f32' }
  return bindings
}

/** WGSL that reads one of them, from its binding or from the uniform of its name. */
export function readNumber(changing: Changing): (name: string) => string {
  return (name) => (typeof changing[name] === 'number' ? `u.${name}` : `${name}_on_device[0]`)
}

/** WGSL `correction(x)`: 1 − eˣ without cancellation near 0. */
export const CORRECTION = `fn correction(x: f32) -> f32 {
  return select(1.0 - exp(x), -x * (1.0 + x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0 + x / 120.0)))), x > -0.1);
}`

/** The webgpu form: parameter and moments are overwritten in their own buffers, in one pass. */
function adamwProgram(param: tf.Variable, grad: tf.Tensor, m: tf.Variable, v: tf.Variable, h: AdamHyper): void {
  const { learningRate, step, clip } = h
  const changing = { rate: learningRate, step, clip }
  const read = readNumber(changing)
  const bindings: Record<string, Binding> = {
    p: { tensor: param, type: 'f32', write: true },
    m: { tensor: m, type: 'f32', write: true },
    v: { tensor: v, type: 'f32', write: true },
    g: { tensor: grad, type: 'f32' },
    ...scalarBindings(changing),
  }
  dispatch({
    key: 'adamw',
    bindings,
    uniforms: {
      size: param.size,
      rate: plain(learningRate),
      step: plain(step),
      clip: plain(clip),
      beta1: h.beta1,
      beta2: h.beta2,
      // 1 − β on the host: in f32 the difference of 0.999 loses digits
      rest1: 1 - h.beta1,
      rest2: 1 - h.beta2,
      log1: Math.log(h.beta1),
      log2: Math.log(h.beta2),
      epsilon: h.epsilon,
      decay: h.weightDecay,
    },
    floats: ['rate', 'step', 'clip', 'beta1', 'beta2', 'rest1', 'rest2', 'log1', 'log2', 'epsilon', 'decay'],
    workgroups: spread(Math.ceil(param.size / 64)),
    code: () => `${CORRECTION}
${elementMain(`let grad = g[i] * ${read('clip')};
    let rate = ${read('rate')};
    let next_m = u.beta1 * m[i] + u.rest1 * grad;
    let next_v = u.beta2 * v[i] + u.rest2 * grad * grad;
    let root = sqrt(next_v / correction(u.log2 * ${read('step')})) + u.epsilon;
    m[i] = next_m;
    v[i] = next_v;
    p[i] = p[i] * (1.0 - rate * u.decay) - rate / correction(u.log1 * ${read('step')}) * next_m / root;`)}`,
  })
}

/** The plain TensorFlow.js form of {@link sumSquares}. */
export function sumSquaresReference(grads: tf.Tensor[]): tf.Scalar {
  // row sums first: one long f32 sum loses digits
  return tf.tidy(() => tf.sum(tf.stack(grads.map((grad) => tf.sum(tf.sum(tf.square(grad), -1))))) as tf.Scalar)
}

/** Sum over all elements of all gradients of their squares; its root is the global norm. */
export function sumSquares(grads: tf.Tensor[]): tf.Scalar {
  if (onGPU()) return sumSquaresProgram(grads)
  return onHeap() ? sumSquaresHeap(grads) : sumSquaresReference(grads)
}

/** The wasm form: one pass, summed in f64. */
function sumSquaresHeap(grads: tf.Tensor[]): tf.Scalar {
  let sum = 0
  for (const grad of grads) {
    const values = views(grad)[0]!
    for (let i = 0; i < values.length; i++) sum += values[i]! * values[i]!
  }
  return tf.scalar(sum)
}

/** Elements that one workgroup sums. */
const SPAN = 4096

/** Gradients that one dispatch reads: with its result they stay within the eight buffers that every device grants. */
const AT_ONCE = 7

/** The webgpu form: partial sums of every gradient side by side, some gradients a dispatch, then one workgroup adds them up. */
function sumSquaresProgram(grads: tf.Tensor[]): tf.Scalar {
  const groups = (parts: tf.Tensor[]): number => parts.reduce((sum, { size }) => sum + Math.ceil(size / SPAN), 0)
  const partials = emptyTensor<tf.Rank.R1>([groups(grads)])
  const sum = emptyTensor<tf.Rank.R0>([])
  let first = 0
  for (let i = 0; i < grads.length; i += AT_ONCE) {
    const parts = grads.slice(i, i + AT_ONCE)
    addUp(parts, partials, first, SPAN, 'value * value')
    first += groups(parts)
  }
  addUp([partials], sum, 0, partials.size, 'value')
  partials.dispose()
  return sum
}

/** Sums `power` over every `span` elements of each part; the sums land in `to` from `first` on. */
function addUp(parts: tf.Tensor[], to: tf.Tensor, first: number, span: number, power: string): void {
  const bindings: Record<string, Binding> = { sums: { tensor: to, type: 'f32', write: true } }
  const uniforms: Record<string, number> = { first, span }
  let count = 0
  parts.forEach((part, n) => {
    bindings[`x${n}`] = { tensor: part, type: 'f32' }
    uniforms[`size${n}`] = part.size
    uniforms[`from${n}`] = count
    count += Math.ceil(part.size / span)
  })
  dispatch({
    key: `sum of ${power}`,
    bindings,
    uniforms: { ...uniforms, count },
    workgroups: spread(count),
    code: () => {
      const cases = parts.map((_, n) => {
        const within = n + 1 < parts.length ? `if (group < u.from${n + 1})` : ''
        return `${within} {
      let begin = (group - u.from${n}) * u.span;
      for (var i = begin + tid; i < min(u.size${n}, begin + u.span); i += ${rowThreads()}u) { let value = x${n}[i]; part += ${power}; }
    }`
      })
      return `${totalWGSL()}
@compute @workgroup_size(${rowThreads()})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group < u.count) {
    var part = 0.0;
    ${cases.join(' else ')}
    let sum = total(tid, part);
    if (tid == 0u) { sums[u.first + group] = sum; }
  }
}`
    },
  })
}

/** The factor min(1, maxNorm / (norm + 1e-6)) of torch.nn.utils.clip_grad_norm_, from the sum of squares, without a readback. */
export function clipFactor(sumOfSquares: tf.Scalar, maxNorm: number): tf.Scalar {
  if (onGPU()) return clipProgram(sumOfSquares, maxNorm)
  return tf.tidy(() => tf.minimum(1, tf.div(maxNorm, tf.add(tf.sqrt(sumOfSquares), 1e-6))) as tf.Scalar)
}

function clipProgram(sumOfSquares: tf.Scalar, maxNorm: number): tf.Scalar {
  const factor = emptyTensor<tf.Rank.R0>([])
  dispatch({
    key: 'clip factor',
    bindings: { factor: { tensor: factor, type: 'f32', write: true }, squares: { tensor: sumOfSquares, type: 'f32' } },
    uniforms: { size: 1, most: maxNorm },
    floats: ['most'],
    workgroups: [1, 1, 1],
    code: () => elementMain('factor[i] = min(1.0, u.most / (sqrt(squares[i]) + 1.0e-6));'),
  })
  return factor
}
