/**
 * Prompt tuning (Lester et al. 2021): learnt embeddings of virtual tokens before every example; made afresh from the embeddings of real
 * tokens, from PEFT, and back. Refuses prompts of another model. Virtual tokens are there or not: strength knows no half.
 */
import type { PeftAdapter } from '../formats/peft'
import type { PromptConfig, VirtualConfig } from '../formats/peft-methods'
import type { Model } from '../models/model'
import type { Overlay } from '../nn/network'
import { placeVirtual } from '../nn/virtual'
import { readVariables } from '../tensor-data'
import { tf } from '../tf'
import { homeless, misfit, refuseMisfits, storedVariable } from './fit'
import type { Trainable, TrainedVariable } from './trainable'

/** PEFT's name of what is learnt in prompt and prefix tuning. */
export const PROMPT_EMBEDDINGS = 'prompt_embeddings'

/** What PEFT writes of virtual tokens: `width` is that of one of them. */
export function virtualConfig({ record, network }: Model, count: number, width: number, heads: number): VirtualConfig {
  return {
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: record.name,
    inference_mode: true,
    num_virtual_tokens: count,
    token_dim: width,
    num_layers: network.layers,
    num_attention_heads: heads,
    num_transformer_submodules: 1,
  }
}

/** Virtual tokens on the device. */
export class Prompt implements Trainable {
  readonly config: PromptConfig
  readonly parameters: number
  readonly variables: readonly TrainedVariable[]
  readonly #tokens: tf.Variable
  #strength = 1

  /** @param tokens `[count, hidden]`; taken over. */
  constructor(config: PromptConfig, tokens: tf.Variable) {
    this.config = config
    this.#tokens = tokens
    this.variables = [{ name: PROMPT_EMBEDDINGS, variable: tokens, place: 'embedding' }]
    this.parameters = tokens.size
  }

  get virtual(): number {
    return this.#strength === 0 ? 0 : this.config.num_virtual_tokens
  }

  setStrength(strength: number): void {
    this.#strength = strength
  }

  overlay(): Overlay | null {
    if (this.#strength === 0) return null
    const tokens = this.#tokens as tf.Tensor as tf.Tensor2D
    return { embedded: (x, { virtual }) => (virtual ? placeVirtual(x, tokens, virtual) : x) }
  }

  async toPeft(baseName: string): Promise<PeftAdapter<PromptConfig>> {
    return {
      config: { ...this.config, base_model_name_or_path: baseName },
      tensors: await readVariables(this.variables),
    }
  }

  dispose(): void {
    this.#tokens.dispose()
  }
}

/** Virtual tokens that start as these real ones. */
export function createPrompt(model: Model, ids: readonly number[]): Prompt {
  const { config: shape, network } = model
  const tokens = tf.tidy(() => {
    let rows: tf.Tensor2D | undefined
    const overlay: Overlay = { embedded: (x) => (rows = x) }
    const pass = { batch: 1, seq: ids.length, past: 0, overlay, caches: null }
    network.embed(tf.tensor1d([...ids], 'int32'), pass)
    return tf.variable(rows as tf.Tensor, false)
  })
  const virtual = virtualConfig(model, ids.length, network.hidden, shape.heads)
  return new Prompt({ peft_type: 'PROMPT_TUNING', ...virtual, prompt_tuning_init: 'RANDOM' }, tokens)
}

/** A stored prompt on a model. Throws CodedError `adapter.mismatch` where it does not fit. */
export function loadPrompt(model: Model, { config, tensors }: PeftAdapter<PromptConfig>): Prompt {
  const shape = [config.num_virtual_tokens, model.network.hidden]
  refuseMisfits(
    [...misfit(tensors, PROMPT_EMBEDDINGS, shape), ...homeless(tensors, new Set([PROMPT_EMBEDDINGS]))],
    config.base_model_name_or_path,
  )
  return new Prompt(config, storedVariable(tensors, PROMPT_EMBEDDINGS, shape))
}
