/** A model of any family and size with random weights, as the folder that it would be loaded from. Refuses to make sense. */
import { count } from '../../src/engine/models/weights'
import { readConfig } from '../../src/engine/models/registry'
import { floatsToBfloats, floatsToHalves } from '../../src/engine/formats/float16'
import { writeSafetensors } from '../../src/engine/formats/safetensors'
import type { FileSource } from '../../src/shared/files'
import type { TensorData } from '../../src/shared/records'
import { memoryFolder } from './memory-folder'

const TOKENIZER = {
  version: '1.0',
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
  post_processor: null,
  decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: { type: 'BPE', vocab: { a: 0, b: 1 }, merges: [] },
}

/** SmolLM2-135M's config.json, as far as it says how large what is. */
export const SMOLLM2_135M = {
  model_type: 'llama',
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
  num_key_value_heads: 3,
  vocab_size: 49152,
  rms_norm_eps: 1e-5,
  rope_theta: 100000,
  max_position_embeddings: 8192,
  hidden_act: 'silu',
  tie_word_embeddings: true,
}

/** Weights of about ±1/√in, norms of one. */
export function randomModel(config: Record<string, unknown>, dtype: 'F32' | 'F16' | 'BF16' = 'F32'): FileSource {
  const { family, config: read } = readConfig(config)
  let state = 1
  const tensors: Record<string, TensorData> = {}
  for (const { name, shape, optional } of family.plan(read).specs) {
    if (optional) continue
    const values = new Float32Array(count(shape))
    const scale = shape.length === 1 ? 0 : 1 / Math.sqrt(shape.at(-1)!)
    for (let i = 0; i < values.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) | 0
      values[i] = scale === 0 ? 1 : (state / 2 ** 31) * scale
    }
    const stored = { F32: values, F16: floatsToHalves(values), BF16: floatsToBfloats(values) }[dtype]
    tensors[name] = { dtype, shape: [...shape], bytes: new Uint8Array(stored.buffer) }
  }
  return modelFolder(config, tensors)
}

/** A Hugging Face folder in memory, with a tokenizer of two letters. */
export function modelFolder(config: Record<string, unknown>, tensors: Record<string, TensorData>): FileSource {
  return memoryFolder({
    'config.json': JSON.stringify(config),
    'model.safetensors': writeSafetensors(tensors),
    'tokenizer.json': JSON.stringify(TOKENIZER),
    'tokenizer_config.json': JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast' }),
  })
}
