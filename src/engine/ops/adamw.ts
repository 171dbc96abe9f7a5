/**
 * AdamW as PyTorch computes it, and the sum of squares that clipping needs.
 * Refuses to own state: the caller keeps parameter and moments as variables, which are updated in place.
 */
import { tf } from '../tf'
import type { FlatPart } from './flat'
import { dispatch, dispatches, emptyTensor, mostBindings, onGPU, spread, type Binding } from './gpu'
import { heapTensor, onHeap, views } from './heap'
import { elementMain, rowThreads, several, severalMain, totalWGSL } from './reduce'

/** What all updates of one kind have in common. */
export interface AdamSettings {
  readonly beta1: number
  readonly beta2: number
  /** Added to the root, outside it. */
  readonly epsilon: number
}

/** Everything an update depends on. What changes between steps may be a scalar on the device, so that a recorded step can be replayed. */
export interface AdamHyper extends AdamSettings {
  /** Decoupled: the parameter shrinks by learningRate · weightDecay. */
  readonly weightDecay: number
  readonly learningRate: number | tf.Scalar
  /** 1 for the first update. */
  readonly step: number | tf.Scalar
  /** Factor on the gradient (1 where it is not clipped). */
  readonly clip: number | tf.Scalar
}

/** A parameter that is due, and what moves it. */
export interface AdamMove {
  readonly param: tf.Variable
  readonly gradient: FlatPart
  /** Running means of the gradient and of its square. */
  readonly m: FlatPart
  readonly v: FlatPart
  readonly weightDecay: number
  readonly learningRate: number
  /** 1 for the first update. */
  readonly step: number
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

/** The plain TensorFlow.js form of {@link adamwUpdates}, for one parameter and tensors of its shape. */
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
 * One AdamW update of each parameter and its moments:
 * g ← clip·grad; m ← β1·m + (1−β1)·g; v ← β2·v + (1−β2)·g²;
 * p ← p·(1 − lr·decay) − lr·(m/(1−β1ᵗ)) / (sqrt(v/(1−β2ᵗ)) + eps). Source: torch.optim.AdamW.
 * @param numbers what {@link changingNumbers} says, where programs read it; not looked at off the GPU.
 */
export function adamwUpdates(
  moves: readonly AdamMove[],
  settings: AdamSettings,
  clip: number,
  numbers: tf.Tensor,
): void {
  if (!onGPU()) return moves.forEach((move) => adamwHeap(move, settings, clip))
  const rows = moves.map((move, row) => ({ move, row }))
  const buffers = ({ move }: { move: AdamMove }): tf.Tensor[] => [move.gradient.flat, move.m.flat, move.v.flat]
  for (const some of dispatches(rows, mostBindings() - 4, buffers)) adamwProgram(some, settings, numbers)
}

/** The numbers of updates that change from step to step: the clip factor, then a rate and a step for each move. */
export function changingNumbers(moves: readonly AdamMove[], clip: number): Float32Array {
  return Float32Array.from([clip, ...moves.flatMap(({ learningRate, step }) => [learningRate, step])])
}

/**
 * The wasm form: moments in place, in f64. The parameter gets new memory, because that backend's products keep packed copies
 * of their right factor by tensor and would not see a change in place.
 */
function adamwHeap(move: AdamMove, settings: AdamSettings, clip: number): void {
  const { param, gradient, m, v, learningRate: rate, step, weightDecay } = move
  const { beta1, beta2, epsilon } = settings
  const next = heapTensor(param.shape as [number])
  const [p, out] = views(param, next) as [Float32Array, Float32Array]
  const [g, first, second] = [gradient, m, v].map(({ flat, at }) => views(flat)[0]!.subarray(at, at + p.length)) as [
    Float32Array,
    Float32Array,
    Float32Array,
  ]
  const shrink = 1 - rate * weightDecay
  const pace = rate / (1 - beta1 ** step)
  const rootScale = 1 / Math.sqrt(1 - beta2 ** step)
  for (let i = 0; i < p.length; i++) {
    const slope = g[i]! * clip
    const a = (first[i] = beta1 * first[i]! + (1 - beta1) * slope)
    const b = (second[i] = beta2 * second[i]! + (1 - beta2) * slope * slope)
    out[i] = p[i]! * shrink - (pace * a) / (Math.sqrt(b) * rootScale + epsilon)
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

/** Values that one workgroup of 64 threads moves. */
const MOVED = 256

/** The webgpu form: parameters and moments are overwritten in their own buffers, several parameters a dispatch. */
function adamwProgram(
  rows: readonly { move: AdamMove; row: number }[],
  { beta1, beta2, epsilon }: AdamSettings,
  numbers: tf.Tensor,
): void {
  const { gradient, m, v } = rows[0]!.move
  const bindings: Record<string, Binding> = {
    m: { tensor: m.flat, type: 'f32', write: true },
    v: { tensor: v.flat, type: 'f32', write: true },
    g: { tensor: gradient.flat, type: 'f32' },
    numbers: { tensor: numbers, type: 'f32' },
  }
  const { uniforms, groups } = several(rows.map(({ move }) => move.param.size), MOVED) // prettier-ignore
  const floats = ['beta1', 'beta2', 'rest1', 'rest2', 'log1', 'log2', 'epsilon']
  rows.forEach(({ move, row }, n) => {
    bindings[`p${n}`] = { tensor: move.param, type: 'f32', write: true }
    Object.assign(uniforms, { [`row${n}`]: row, [`g_at${n}`]: move.gradient.at, [`m_at${n}`]: move.m.at })
    Object.assign(uniforms, { [`v_at${n}`]: move.v.at, [`decay${n}`]: move.weightDecay })
    floats.push(`decay${n}`)
  })
  const body = (n: number): string => `let rate = numbers[2u * u.row${n} + 1u];
      let step = numbers[2u * u.row${n} + 2u];
      let corrections = vec2<f32>(correction(u.log1 * step), correction(u.log2 * step));
      for (var i = begin + tid; i < end; i += 64u) {
        let direction = moved(u.g_at${n} + i, u.m_at${n} + i, u.v_at${n} + i, corrections.y);
        p${n}[i] = p${n}[i] * (1.0 - rate * u.decay${n}) - rate / corrections.x * direction;
      }`
  dispatch({
    key: 'adamw',
    bindings,
    uniforms: {
      ...{ ...uniforms, beta1, beta2, epsilon },
      // 1 − β on the host: in f32 the difference of 0.999 loses digits
      ...{ rest1: 1 - beta1, rest2: 1 - beta2, log1: Math.log(beta1), log2: Math.log(beta2) },
    },
    floats,
    workgroups: spread(groups),
    code: () => `${CORRECTION}
fn moved(at: u32, m_at: u32, v_at: u32, correction2: f32) -> f32 {
  let grad = g[at] * numbers[0];
  let next_m = u.beta1 * m[m_at] + u.rest1 * grad;
  let next_v = u.beta2 * v[v_at] + u.rest2 * grad * grad;
  m[m_at] = next_m;
  v[v_at] = next_v;
  return next_m / (sqrt(next_v / correction2) + u.epsilon);
}
${severalMain(rows.length, 64, body)}`,
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

/** The webgpu form: partial sums of every gradient side by side, some gradients a dispatch, then one workgroup adds them up. */
function sumSquaresProgram(grads: tf.Tensor[]): tf.Scalar {
  const groups = (parts: tf.Tensor[]): number => parts.reduce((sum, { size }) => sum + Math.ceil(size / SPAN), 0)
  const partials = emptyTensor<tf.Rank.R1>([groups(grads)])
  const sum = emptyTensor<tf.Rank.R0>([])
  let first = 0
  for (const parts of dispatches(grads, mostBindings() - 1)) {
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
  parts.forEach((part, n) => (bindings[`x${n}`] = { tensor: part, type: 'f32' }))
  const { uniforms, groups } = several(parts.map(({ size }) => size), span) // prettier-ignore
  dispatch({
    key: `sum of ${power}`,
    bindings,
    uniforms: { ...uniforms, first },
    workgroups: spread(groups),
    code: () => {
      const sum = (n: number): string => `var part = 0.0;
      for (var i = begin + tid; i < end; i += ${rowThreads()}u) { let value = x${n}[i]; part += ${power}; }
      let sum = total(tid, part);
      if (tid == 0u) { sums[u.first + group] = sum; }`
      return `${totalWGSL()}\n${severalMain(parts.length, rowThreads(), sum)}`
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
