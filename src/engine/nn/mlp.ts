/** Feed-forward blocks: gated, down(act(gate(x)) · up(x)), and plain, down(act(up(x))). Refuse other activations than are listed. */
import { geglu, gelu, swiglu } from '../ops'
import { tf } from '../tf'
import type { Linear } from './linear'
import type { Pass } from './network'

/** `gelu` is exact, `gelu_tanh` its usual approximation. */
type Gelu = 'gelu' | 'gelu_tanh'

/** `silu`: SwiGLU; the others: GEGLU. */
type GatedActivation = 'silu' | Gelu

export interface GatedMlpParts {
  readonly activation: GatedActivation
  /** Separate projections, or one that holds gate and up one after the other (Phi-3). */
  readonly project: { gate: Linear; up: Linear } | { fused: Linear }
  readonly down: Linear
}

const kindOf = (activation: Gelu): 'exact' | 'tanh' => (activation === 'gelu' ? 'exact' : 'tanh')

/** The linear layers in the order in which they compute. */
export function mlpLinears({ project, down }: GatedMlpParts): Linear[] {
  return 'fused' in project ? [project.fused, down] : [project.gate, project.up, down]
}

/** `[n, hidden]` → same, added to `plus` where given. Differentiable in `x`, `plus` and the adapters. */
export function gatedMlp(
  x: tf.Tensor2D,
  parts: GatedMlpParts,
  pass: Pass,
  plus: tf.Tensor2D | null = null,
): tf.Tensor2D {
  const { project, activation, down } = parts
  const [gate, up] =
    'fused' in project
      ? (tf.split(project.fused.forward(x, pass), 2, 1) as [tf.Tensor2D, tf.Tensor2D])
      : [project.gate.forward(x, pass), project.up.forward(x, pass)]
  const mixed = activation === 'silu' ? swiglu(gate, up) : geglu(gate, up, kindOf(activation))
  return down.forward(mixed, pass, plus)
}

export interface PlainMlpParts {
  readonly activation: Gelu
  readonly up: Linear
  readonly down: Linear
}

/** `[n, hidden]` → same. Differentiable in `x` and the adapters. */
export function plainMlp(x: tf.Tensor2D, { activation, up, down }: PlainMlpParts, pass: Pass): tf.Tensor2D {
  return down.forward(gelu(up.forward(x, pass), kindOf(activation)), pass)
}
