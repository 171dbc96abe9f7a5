/**
 * A whole Hugging Face model folder with the adapter merged in, written tensor by tensor and in shards where it is large. Refuses to
 * change anything that training did not: config, tokenizer and template travel along.
 */
import type { FileSource } from '../../shared/files'
import type { TensorData } from '../../shared/records'
import { openWeights, type Weights } from './checkpoint-index'
import { setJsonField } from './json-edit'
import { becomesUntied, mergeWeights } from './merge'
import { bytesFile, jsonFile, type OutFile } from './out-file'
import type { PeftAdapter } from './peft'
import { byteLength, fromFloat32, planSafetensors, toFloat32 } from './safetensors'

export interface MergedOptions {
  /** `same` keeps the type of every base tensor. */
  dtype: 'F32' | 'F16' | 'BF16' | 'same'
  /** Jinja source that the model was tuned with. */
  chatTemplate?: string
  /** Ends of a text, for generation_config.json where the base has none. */
  eosIds?: readonly number[]
  /** Bytes of a shard; 2 GB by default. */
  shardSize?: number
}

const TORCH_NAMES = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' } as const
/** Small files that go along as they are. */
const COPIED = [
  'tokenizer.json',
  'vocab.json',
  'merges.txt',
  'special_tokens_map.json',
  'added_tokens.json',
  'tokenizer.model',
  'LICENSE',
]
type Json = Record<string, unknown>

/** The folder's files. Throws CodedError `adapter.mismatch` and whatever the base's own files are refused for. */
export async function mergedFolder(
  source: FileSource,
  adapter: PeftAdapter,
  options: MergedOptions,
): Promise<OutFile[]> {
  const names = new Set((await source.list()).map((file) => file.name))
  const baseText = await readText(source, 'config.json')
  const config = JSON.parse(baseText) as Json
  const unties = becomesUntied(config, adapter)
  const merged = mergeWeights(await openWeights(source), adapter, unties)
  const weights = unties ? merged : renameTiedHead(merged, config)
  const files = weightFiles(weights, options)
  const configText = unties ? setJsonField(baseText, 'tie_word_embeddings', false) : baseText
  const typeField = config.dtype === undefined ? 'torch_dtype' : 'dtype'
  const typed = options.dtype === 'same' ? configText : setJsonField(configText, typeField, TORCH_NAMES[options.dtype])
  files.push(bytesFile('config.json', typed))

  let generation = names.has('generation_config.json')
    ? await readText(source, 'generation_config.json')
    : JSON.stringify(generationConfig(config), null, 2)
  if (options.eosIds?.length && (JSON.parse(generation) as Json).eos_token_id === undefined)
    generation = setJsonField(
      generation,
      'eos_token_id',
      options.eosIds.length === 1 ? options.eosIds[0] : options.eosIds,
    )
  files.push(bytesFile('generation_config.json', generation))

  let tokenizer = names.has('tokenizer_config.json') ? await readText(source, 'tokenizer_config.json') : '{}\n'
  // Loaders that rebuild a tokenizer by its class do not always read tokenizer.json as it stands, and training did.
  if (names.has('tokenizer.json')) tokenizer = setJsonField(tokenizer, 'tokenizer_class', 'PreTrainedTokenizerFast')
  if (options.chatTemplate !== undefined) {
    tokenizer = setJsonField(tokenizer, 'chat_template', options.chatTemplate)
    files.push(bytesFile('chat_template.jinja', options.chatTemplate))
  }
  files.push(bytesFile('tokenizer_config.json', tokenizer))
  for (const name of COPIED) if (names.has(name)) files.push(bytesFile(name, await source.read(name)))
  return files
}

async function readText(source: FileSource, name: string): Promise<string> {
  return new TextDecoder().decode(await source.read(name))
}

function generationConfig(config: Json): Json {
  const ids = ['bos_token_id', 'eos_token_id', 'pad_token_id'] as const
  return Object.fromEntries(
    ids.filter((key) => typeof config[key] === 'number' || Array.isArray(config[key])).map((key) => [key, config[key]]),
  )
}

/** A tied head stands once, and under the name of the embedding, where loaders look for it. */
function renameTiedHead(weights: Weights, config: Json): Weights {
  const head = 'lm_head.weight'
  const embedding = 'model.embed_tokens.weight'
  if (config.tie_word_embeddings !== true || !weights.names.includes(head)) return weights
  const stored = (name: string) => (name === embedding && !weights.names.includes(embedding) ? head : name)
  const others = weights.names.filter((name) => name !== head && name !== embedding)
  const inputs = weights.names.includes(embedding) || weights.names.some((name) => name.startsWith('model.layers.'))
  return {
    names: inputs ? [embedding, ...others] : others,
    info: (name) => weights.info(stored(name)),
    read: (name) => weights.read(stored(name)),
  }
}

type Described = Record<string, Pick<TensorData, 'dtype' | 'shape'>>

function weightFiles(weights: Weights, options: MergedOptions): OutFile[] {
  const limit = options.shardSize ?? 2e9
  const shards: Described[] = [{}]
  let filled = 0
  let total = 0
  for (const name of weights.names) {
    const { dtype, shape } = weights.info(name)
    const target = targetType(dtype, options.dtype)
    const bytes = byteLength(target, shape)
    if (filled > 0 && filled + bytes > limit) {
      shards.push({})
      filled = 0
    }
    shards[shards.length - 1]![name] = { dtype: target, shape: [...shape] }
    filled += bytes
    total += bytes
  }
  const number = (value: number) => String(value).padStart(5, '0')
  const title = (i: number) =>
    shards.length === 1 ? 'model.safetensors' : `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`
  const files = shards.map((tensors, i) => shardFile(title(i), tensors, weights))
  if (shards.length > 1) {
    const map = shards.flatMap((tensors, i) => Object.keys(tensors).map((name) => [name, title(i)]))
    files.push(
      jsonFile('model.safetensors.index.json', {
        metadata: { total_size: total },
        weight_map: Object.fromEntries(map.sort(([a], [b]) => (a! < b! ? -1 : 1))) as unknown,
      }),
    )
  }
  return files
}

function isFloat(dtype: string): dtype is 'F32' | 'F16' | 'BF16' {
  return dtype === 'F32' || dtype === 'F16' || dtype === 'BF16'
}

function targetType(dtype: string, wanted: MergedOptions['dtype']): TensorData['dtype'] {
  return isFloat(dtype) && wanted !== 'same' ? wanted : (dtype as TensorData['dtype'])
}

function shardFile(name: string, tensors: Described, weights: Weights): OutFile {
  const { head, order, size } = planSafetensors(tensors, { format: 'pt' })
  return {
    name,
    size,
    async *chunks() {
      yield head
      for (const tensor of order) {
        const { dtype } = tensors[tensor]!
        const data = await weights.read(tensor)
        yield data.dtype === dtype || !isFloat(dtype)
          ? data.bytes
          : fromFloat32(toFloat32(data), data.shape, dtype).bytes
      }
    },
  }
}
