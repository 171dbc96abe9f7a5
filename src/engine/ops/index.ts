/** The ops that models and training are written with; each hides its plain form and its WGSL program. */
export { geglu, gelu, swiglu, type GeluKind } from './activation'
export {
  adamwUpdates,
  changingNumbers,
  clipFactor,
  sumSquares,
  type AdamHyper,
  type AdamMove,
  type AdamSettings,
} from './adamw'
export { attention } from './attention'
export type { AttentionOptions } from './attention-reach'
export { crossEntropy, crossEntropyWithGrad } from './cross-entropy'
export { doraLinear, rowNorms } from './dora'
export { evenNoise, type DropoutKey } from './dropout'
export { embed } from './embed'
export { FrozenMatrix } from './frozen-matrix'
export { linear, logits, type LoraPair } from './linear'
export { layerNorm, rmsNorm } from './norm'
export { type Precision } from './packing'
export { rope } from './rope'
