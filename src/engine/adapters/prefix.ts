/**
 * Prefix tuning (Li and Liang 2021): learnt keys and values of virtual positions in every layer; made afresh from what the model computes for
 * real tokens, from PEFT, and back. Refuses prefixes of another model. A prefix is there or not: strength knows no half.
 */
import type { TensorData } from '../../shared/records'
import type { PeftAdapter } from '../formats/peft'
import type { PrefixConfig } from '../formats/peft-methods'
import { toFloat32 } from '../formats/safetensors'
import type { Model } from '../models/model'
import type { Overlay, Pass } from '../nn/network'
import { placeVirtual } from '../nn/virtual'
import { readTensor } from '../tensor-data'
import { tf } from '../tf'
import { homeless, misfit, refuseMisfits, variableOf } from './fit'
import { PROMPT_EMBEDDINGS, virtualConfig } from './prompt'
import type { Trainable, TrainedVariable } from './trainable'

/** Of one layer, `[count, heads · dim]` each. */
interface KeyValues {
  readonly keys: tf.Variable
  readonly values: tf.Variable
}

/** A prefix on the device; in files it is one tensor, `[count, layers · 2 · heads · dim]`. */
export class Prefix implements Trainable {
  readonly config: PrefixConfig
  readonly parameters: number
  readonly variables: readonly TrainedVariable[]
  readonly #layers: readonly KeyValues[]
  #strength = 1

  constructor(config: PrefixConfig, layers: readonly KeyValues[]) {
    this.config = config
    this.#layers = layers
    this.variables = layers.flatMap(({ keys, values }, place) => [
      { name: `${PROMPT_EMBEDDINGS}.${place}.keys`, variable: keys, place },
      { name: `${PROMPT_EMBEDDINGS}.${place}.values`, variable: values, place },
    ])
    this.parameters = this.variables.reduce((sum, { variable }) => sum + variable.size, 0)
  }

  get virtual(): number {
    return this.#strength === 0 ? 0 : this.config.num_virtual_tokens
  }

  setStrength(strength: number): void {
    this.#strength = strength
  }

  overlay(): Overlay | null {
    if (this.#strength === 0) return null
    return {
      keysValues: (layer, keys, values, { virtual }) => {
        const own = this.#layers[layer]
        if (!own || !virtual) return [keys, values]
        const placed = (x: tf.Tensor4D, learnt: tf.Variable): tf.Tensor4D => {
          const flat = tf.reshape(x, [-1, learnt.shape[1] as number]) as tf.Tensor2D
          return tf.reshape(placeVirtual(flat, learnt as tf.Tensor as tf.Tensor2D, virtual), x.shape)
        }
        return [placed(keys, own.keys), placed(values, own.values)]
      },
    }
  }

  async toPeft(baseName: string): Promise<PeftAdapter<PrefixConfig>> {
    const all = tf.tidy(() =>
      tf.concat(
        this.variables.map(({ variable }) => variable as tf.Tensor as tf.Tensor2D),
        1,
      ),
    )
    try {
      const tensors = { [PROMPT_EMBEDDINGS]: await readTensor(all) }
      return { config: { ...this.config, base_model_name_or_path: baseName }, tensors }
    } finally {
      all.dispose()
    }
  }

  dispose(): void {
    for (const { variable } of this.variables) variable.dispose()
  }
}

/** A prefix that starts as the keys and values of real tokens at the beginning of a text. */
export function createPrefix(model: Model, ids: readonly number[]): Prefix {
  const { network, config: shape } = model
  const width = shape.kvHeads * shape.headDim
  const seen: [tf.Tensor4D, tf.Tensor4D][] = []
  const overlay: Overlay = { keysValues: (_, keys, values) => (seen.push([keys, values]), [keys, values]) }
  const pass: Pass = { batch: 1, seq: ids.length, past: 0, overlay, caches: null }
  const layers = tf.tidy(() => {
    let x = network.embed(tf.tensor1d([...ids], 'int32'), pass)
    for (let i = 0; i < network.layers; i++) x = network.layer(i, x, pass)
    const start = (of: tf.Tensor4D): tf.Variable => tf.variable(tf.reshape(of, [ids.length, width]), false)
    return seen.map(([keys, values]) => ({ keys: start(keys), values: start(values) }))
  })
  const virtual = virtualConfig(model, ids.length, width, shape.kvHeads)
  const config: PrefixConfig = {
    peft_type: 'PREFIX_TUNING',
    ...virtual,
    prefix_projection: false,
    encoder_hidden_size: width,
  }
  return new Prefix(config, layers)
}

/** A stored prefix on a model. Throws CodedError `adapter.mismatch` where it does not fit. */
export function loadPrefix(model: Model, { config, tensors }: PeftAdapter<PrefixConfig>): Prefix {
  const { network, config: shape } = model
  const width = shape.kvHeads * shape.headDim
  const count = config.num_virtual_tokens
  const row = 2 * network.layers * width
  refuseMisfits(
    [...misfit(tensors, PROMPT_EMBEDDINGS, [count, row]), ...homeless(tensors, new Set([PROMPT_EMBEDDINGS]))],
    config.base_model_name_or_path,
  )
  const all = toFloat32(tensors[PROMPT_EMBEDDINGS] as TensorData)
  const part = (at: number): tf.Variable => {
    const values = new Float32Array(count * width)
    for (let i = 0; i < count; i++) {
      const from = i * row + at * width
      values.set(all.subarray(from, from + width), i * width)
    }
    return variableOf(values, [count, width])
  }
  const layers = Array.from({ length: network.layers }, (_, i) => ({ keys: part(2 * i), values: part(2 * i + 1) }))
  return new Prefix(config, layers)
}
