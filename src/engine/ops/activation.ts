/** SwiGLU, GELU (exact and tanh) and GEGLU with gradients; refuse shapes that differ between gate and up. */
import { tf } from '../tf'
import { dispatch, emptyTensor, onGPU, spread, widest, type Binding } from './gpu'
import { differentiable } from './gradient'
import { elementMain } from './reduce'

/** `exact`: x·Φ(x) with erf ("gelu"); `tanh`: the approximation named "gelu_new" and "gelu_pytorch_tanh". */
export type GeluKind = 'exact' | 'tanh'

const ROOT_2_OVER_PI = Math.sqrt(2 / Math.PI)
const CUBIC = 0.044715

/** Φ-like factor f with gelu(x) = x·f(x), and the derivative of gelu. */
function geluParts(x: tf.Tensor, kind: GeluKind): { factor: tf.Tensor; slope: () => tf.Tensor } {
  if (kind === 'exact') {
    const factor = tf.mul(tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1), 0.5)
    const density = (): tf.Tensor => tf.mul(tf.exp(tf.mul(tf.square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI))
    return { factor, slope: () => tf.add(factor, tf.mul(x, density())) }
  }
  const square = tf.square(x)
  const inner = tf.mul(tf.mul(x, tf.add(tf.mul(square, CUBIC), 1)), ROOT_2_OVER_PI)
  const t = tf.tanh(inner)
  const factor = tf.mul(tf.add(t, 1), 0.5)
  const slope = (): tf.Tensor => {
    const dInner = tf.mul(tf.add(tf.mul(square, 3 * CUBIC), 1), ROOT_2_OVER_PI)
    return tf.add(factor, tf.mul(tf.mul(tf.mul(x, 0.5), tf.sub(1, tf.square(t))), dInner))
  }
  return { factor, slope }
}

/** `[n, d] → [n, d]`. Plain TensorFlow.js, any backend. */
export function geluReference(x: tf.Tensor2D, kind: GeluKind): tf.Tensor2D {
  return differentiable<tf.Tensor2D>({
    inputs: [x],
    forward: (save) => {
      save([x])
      return tf.mul(x, geluParts(x, kind).factor)
    },
    backward: (dy, saved) => [tf.mul(dy, geluParts(saved[0]!, kind).slope())],
  })
}

/** `[n, d] → [n, d]`: x·Φ(x) (Hendrycks & Gimpel 2016) or its tanh form. */
export function gelu(x: tf.Tensor2D, kind: GeluKind): tf.Tensor2D {
  return onGPU() ? activationProgram([x], kind) : geluReference(x, kind)
}

/** gelu(gate) · up. Plain TensorFlow.js, any backend. */
export function gegluReference(gate: tf.Tensor2D, up: tf.Tensor2D, kind: GeluKind): tf.Tensor2D {
  return differentiable<tf.Tensor2D>({
    inputs: [gate, up],
    forward: (save) => {
      save([gate, up])
      return tf.mul(tf.mul(gate, geluParts(gate, kind).factor), up)
    },
    backward: (dy, saved) => {
      const [gate, up] = saved as [tf.Tensor2D, tf.Tensor2D]
      const { factor, slope } = geluParts(gate, kind)
      return [tf.mul(tf.mul(dy, up), slope()), tf.mul(tf.mul(dy, gate), factor)]
    },
  })
}

/** `[n, d], [n, d] → [n, d]`: gelu(gate) · up (Shazeer 2020). */
export function geglu(gate: tf.Tensor2D, up: tf.Tensor2D, kind: GeluKind): tf.Tensor2D {
  return onGPU() ? activationProgram([gate, up], kind) : gegluReference(gate, up, kind)
}

/** silu(gate) · up. Plain TensorFlow.js, any backend. */
export function swigluReference(gate: tf.Tensor2D, up: tf.Tensor2D): tf.Tensor2D {
  return differentiable<tf.Tensor2D>({
    inputs: [gate, up],
    forward: (save) => {
      save([gate, up])
      return tf.mul(tf.mul(gate, tf.sigmoid(gate)), up)
    },
    backward: (dy, saved) => {
      const [gate, up] = saved as [tf.Tensor2D, tf.Tensor2D]
      const s = tf.sigmoid(gate)
      const silu = tf.mul(gate, s)
      const slope = tf.add(s, tf.mul(silu, tf.sub(1, s)))
      return [tf.mul(tf.mul(dy, up), slope), tf.mul(dy, silu)]
    },
  })
}

/** `[n, d], [n, d] → [n, d]`: silu(gate) · up (Shazeer 2020). */
export function swiglu(gate: tf.Tensor2D, up: tf.Tensor2D): tf.Tensor2D {
  return onGPU() ? activationProgram([gate, up], 'silu') : swigluReference(gate, up)
}

type Curve = GeluKind | 'silu'

/** WGSL: `factor(x)` with curve(x) = x · factor(x), and `slope(x, f)`, the curve's derivative; four elements at a time or one. */
function curveWGSL(curve: Curve, type: string): string {
  const fill = (value: number): string => `${type}(${value})`
  // a tanh or exp of a large argument is not finite everywhere, erf is missing: see Abramowitz & Stegun 7.1.26 (1.5e-7)
  const body: Record<Curve, [string, string]> = {
    silu: ['return 1.0 / (1.0 + exp(-clamp(x, LOW, HIGH)));', 'return f * (1.0 + x * (1.0 - f));'],
    tanh: [
      `return 0.5 * (1.0 + tanh(clamp(${ROOT_2_OVER_PI} * x * (1.0 + ${CUBIC} * x * x), ${fill(-15)}, ${fill(15)})));`,
      `let t = 2.0 * f - 1.0;
  return f + 0.5 * x * (1.0 - t * t) * ${ROOT_2_OVER_PI} * (1.0 + ${3 * CUBIC} * x * x);`,
    ],
    exact: [
      `let z = abs(x) * ${Math.SQRT1_2};
  let t = 1.0 / (1.0 + 0.3275911 * z);
  let series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return 0.5 * (1.0 + sign(x) * (1.0 - series * exp(-min(z * z, HIGH))));`,
      `return f + x * exp(-min(0.5 * x * x, HIGH)) * ${1 / Math.sqrt(2 * Math.PI)};`,
    ],
  }
  const [factor, slope] = body[curve]
  return `const LOW = ${fill(-80)};
const HIGH = ${fill(80)};
fn factor(x: ${type}) -> ${type} { ${factor} }
fn slope(x: ${type}, f: ${type}) -> ${type} { ${slope} }`
}

/** The webgpu form of all of them: curve(gate), times `up` where there is one; backward writes both gradients in one pass. */
function activationProgram(inputs: tf.Tensor2D[], curve: Curve): tf.Tensor2D {
  const [rows, d] = inputs[0]!.shape
  const type = widest(rows * d)
  const gated = inputs.length === 2
  const size = type === 'f32' ? rows * d : (rows * d) / 4
  const run = (key: string, bindings: Record<string, Binding>, body: string): void =>
    dispatch({
      key: `activation ${key} ${curve}`,
      bindings,
      uniforms: { size },
      workgroups: spread(Math.ceil(size / 64)),
      code: () => `${curveWGSL(curve, type)}\n${elementMain(body)}`,
    })
  const read = ([gate, up]: tf.Tensor[]): Record<string, Binding> => ({
    gate: { tensor: gate!, type },
    ...(up ? { up: { tensor: up, type } } : {}),
  })
  return differentiable<tf.Tensor2D>({
    inputs,
    forward: (save) => {
      save(inputs)
      const y = emptyTensor<tf.Rank.R2>([rows, d])
      const times = gated ? ' * up[i]' : ''
      run(
        'forward',
        { y: { tensor: y, type, write: true }, ...read(inputs) },
        `y[i] = gate[i] * factor(gate[i])${times};`,
      )
      return y
    },
    backward: (dy, saved) => {
      const [dGate, dUp] = [emptyTensor<tf.Rank.R2>([rows, d]), gated ? emptyTensor<tf.Rank.R2>([rows, d]) : null]
      const outputs: Record<string, Binding> = { d_gate: { tensor: dGate, type, write: true } }
      if (dUp) outputs.d_up = { tensor: dUp, type, write: true }
      run(
        'backward',
        { ...outputs, ...read(saved), dy: { tensor: dy, type } },
        `let f = factor(gate[i]);
    d_gate[i] = dy[i]${gated ? ' * up[i]' : ''} * slope(gate[i], f);
    ${gated ? 'd_up[i] = dy[i] * gate[i] * f;' : ''}`,
      )
      return dUp ? [dGate, dUp] : [dGate]
    },
  })
}
