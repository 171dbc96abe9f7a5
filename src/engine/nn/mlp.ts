/** The gated feed-forward block: down(act(gate(x)) · up(x)). Refuses ungated blocks; families that have one write it themselves. */
import { geglu, swiglu } from '../ops'
import { tf } from '../tf'
import type { Linear } from './linear'
import type { Pass } from './network'

/** `silu`: SwiGLU; the others: GEGLU with the exact or the tanh GELU. */
export type GatedActivation = 'silu' | 'gelu' | 'gelu_tanh'

export interface GatedMlpParts {
  readonly activation: GatedActivation
  /** Separate projections, or one that holds gate and up one after the other (Phi-3). */
  readonly project: { gate: Linear; up: Linear } | { fused: Linear }
  readonly down: Linear
}

/** `[n, hidden]` → same. Differentiable in `x` and the adapters. */
export function gatedMlp(x: tf.Tensor2D, parts: GatedMlpParts, pass: Pass): tf.Tensor2D {
  const [gate, up] =
    'fused' in parts.project
      ? (tf.split(parts.project.fused.forward(x, pass), 2, 1) as [tf.Tensor2D, tf.Tensor2D])
      : [parts.project.gate.forward(x, pass), parts.project.up.forward(x, pass)]
  const mixed =
    parts.activation === 'silu' ? swiglu(gate, up) : geglu(gate, up, parts.activation === 'gelu' ? 'exact' : 'tanh')
  return parts.down.forward(mixed, pass)
}
