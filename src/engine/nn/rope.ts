/**
 * Rotary tables: frequencies of every rope type of transformers, and cosines and sines for the positions of a pass.
 * Refuses rope types it does not know (the config reader names them). Source: transformers modeling_rope_utils.
 */
import { onGPU } from '../ops/gpu'
import { onHeap } from '../ops/heap'
import { tf } from '../tf'

/** How positions become angles; `type: 'default'` is plain rope. */
export interface RopeConfig {
  readonly type: 'default' | 'linear' | 'dynamic' | 'llama3' | 'yarn' | 'longrope'
  readonly theta: number
  /** Channels of a head that are rotated. */
  readonly dim: number
  /** `max_position_embeddings` of the config. */
  readonly maxPositions: number
  readonly factor: number
  /** `original_max_position_embeddings`, where the config has one. */
  readonly originalMax?: number
  readonly lowFreqFactor?: number
  readonly highFreqFactor?: number
  readonly betaFast?: number
  readonly betaSlow?: number
  readonly mscale?: number
  readonly mscaleAllDim?: number
  readonly attentionFactor?: number
  readonly truncate?: boolean
  readonly shortFactor?: readonly number[]
  readonly longFactor?: readonly number[]
}

/** Inverse frequencies `[dim / 2]` and the factor that cosine and sine are multiplied with. */
interface RopeFrequencies {
  inverse: Float32Array
  attentionFactor: number
}

function plain(config: RopeConfig, theta = config.theta): Float64Array {
  return Float64Array.from({ length: config.dim / 2 }, (_, i) => 1 / theta ** ((2 * i) / config.dim))
}

function llama3(config: RopeConfig): Float64Array {
  const { lowFreqFactor = 1, highFreqFactor = 4, originalMax = config.maxPositions } = config
  return plain(config).map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency
    if (wavelength > originalMax / lowFreqFactor) return frequency / config.factor
    if (wavelength < originalMax / highFreqFactor) return frequency
    const blend = (originalMax / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor)
    return ((1 - blend) * frequency) / config.factor + blend * frequency
  })
}

function yarn(config: RopeConfig): { frequencies: Float64Array; attentionFactor: number } {
  const { dim, theta, originalMax = config.maxPositions, betaFast = 32, betaSlow = 1, truncate = true } = config
  const scale = (factor: number, m: number): number => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1)
  let attentionFactor = config.attentionFactor
  if (attentionFactor === undefined) {
    attentionFactor =
      config.mscale && config.mscaleAllDim
        ? scale(config.factor, config.mscale) / scale(config.factor, config.mscaleAllDim)
        : scale(config.factor, 1)
  }
  const channel = (rotations: number): number =>
    (dim * Math.log(originalMax / (rotations * 2 * Math.PI))) / (2 * Math.log(theta))
  const low = Math.max(truncate ? Math.floor(channel(betaFast)) : channel(betaFast), 0)
  let high = Math.min(truncate ? Math.ceil(channel(betaSlow)) : channel(betaSlow), dim - 1)
  if (low === high) high += 0.001
  const frequencies = plain(config).map((frequency, i) => {
    const ramp = Math.min(1, Math.max(0, (i - low) / (high - low)))
    return (frequency / config.factor) * ramp + frequency * (1 - ramp)
  })
  return { frequencies, attentionFactor }
}

/** @param length tokens of the whole sequence; only `dynamic` and `longrope` look at it. */
export function ropeFrequencies(config: RopeConfig, length: number): RopeFrequencies {
  const result = (values: Float64Array, attentionFactor = 1): RopeFrequencies => ({
    inverse: Float32Array.from(values),
    attentionFactor,
  })
  switch (config.type) {
    case 'default':
      return result(plain(config))
    case 'linear':
      return result(plain(config).map((frequency) => frequency / config.factor))
    case 'dynamic': {
      const { dim, theta, factor, maxPositions: max } = config
      const grown = (factor * Math.max(length, max)) / max - (factor - 1)
      return result(plain(config, theta * grown ** (dim / (dim - 2))))
    }
    case 'llama3':
      return result(llama3(config))
    case 'yarn': {
      const { frequencies, attentionFactor } = yarn(config)
      return result(frequencies, attentionFactor)
    }
    case 'longrope': {
      const original = config.originalMax ?? config.maxPositions
      const factors = (length > original ? config.longFactor : config.shortFactor) ?? []
      const stretch = config.maxPositions / original
      const attentionFactor =
        config.attentionFactor ?? (stretch <= 1 ? 1 : Math.sqrt(1 + Math.log(stretch) / Math.log(original)))
      return result(
        plain(config).map((frequency, i) => frequency / (factors[i] ?? 1)),
        attentionFactor,
      )
    }
  }
}

/** Cosines and sines on the device for as many positions as were asked for; one for all layers of a model. */
export class RopeTables {
  readonly config: RopeConfig
  #cos: tf.Tensor2D | null = null
  #sin: tf.Tensor2D | null = null
  #rows = 0
  /** Which frequencies the tables hold: they differ with the length for `dynamic` and `longrope`. */
  #regime = 0
  /** The rows of the last call: all layers of a pass ask for the same. */
  #view: { past: number; seq: number; cos: tf.Tensor2D; sin: tf.Tensor2D } | null = null

  constructor(config: RopeConfig) {
    this.config = config
  }

  get bytes(): number {
    return this.#rows * this.config.dim * 4
  }

  /** Tables of at least `seq` rows for positions from `past` on, `[rows, dim / 2]`; owned by this object, good until the next call. */
  at(past: number, seq: number): { cos: tf.Tensor2D; sin: tf.Tensor2D } {
    if (this.#view && this.#view.past === past && this.#view.seq === seq) return this.#view
    const whole = this.upTo(past + seq)
    // Whole where it can be: batches of any length then read the same buffers, which recorded steps rely on.
    if (past === 0 && (onGPU() || onHeap())) return whole
    this.#forgetView()
    const half = this.config.dim / 2
    const part = (table: tf.Tensor2D | null): tf.Tensor2D =>
      tf.keep(tf.slice(table as tf.Tensor2D, [past, 0], [seq, half]))
    this.#view = { past, seq, cos: part(this.#cos), sin: part(this.#sin) }
    return this.#view
  }

  /** Whole tables `[rows, dim / 2]` of at least `length` rows; owned by this object, good until the next call for more. */
  upTo(length: number): { cos: tf.Tensor2D; sin: tf.Tensor2D } {
    const regime = this.#regimeOf(length)
    if (!this.#cos || !this.#sin || length > this.#rows || regime !== this.#regime) this.#build(length, regime)
    return { cos: this.#cos as unknown as tf.Tensor2D, sin: this.#sin as unknown as tf.Tensor2D }
  }

  /** Tables of `length` rows, or of `ahead` where rows are the same in those. */
  prepare(length: number, ahead: number): void {
    this.upTo(this.#regimeOf(ahead) === this.#regimeOf(length) ? ahead : length)
  }

  dispose(): void {
    this.#forgetView()
    this.#cos?.dispose()
    this.#sin?.dispose()
    this.#cos = this.#sin = null
    this.#rows = 0
  }

  #forgetView(): void {
    this.#view?.cos.dispose()
    this.#view?.sin.dispose()
    this.#view = null
  }

  #regimeOf(length: number): number {
    const { type, maxPositions, originalMax = maxPositions } = this.config
    if (type === 'dynamic') return Math.max(length, maxPositions)
    if (type === 'longrope') return length > originalMax ? 1 : 0
    return 0
  }

  #build(length: number, regime: number): void {
    this.dispose()
    const half = this.config.dim / 2
    const { inverse, attentionFactor } = ropeFrequencies(this.config, length)
    // Grown by doubling, so that decoding does not build them anew for each token.
    const rows = Math.max(64, 2 ** Math.ceil(Math.log2(length)))
    const cos = new Float32Array(rows * half)
    const sin = new Float32Array(rows * half)
    for (let position = 0; position < rows; position++) {
      for (let i = 0; i < half; i++) {
        // The angle is rounded to f32 as transformers does it.
        const angle = Math.fround(position * (inverse[i] as number))
        cos[position * half + i] = Math.cos(angle) * attentionFactor
        sin[position * half + i] = Math.sin(angle) * attentionFactor
      }
    }
    this.#cos = tf.keep(tf.tensor2d(cos, [rows, half]))
    this.#sin = tf.keep(tf.tensor2d(sin, [rows, half]))
    this.#rows = rows
    this.#regime = regime
  }
}
