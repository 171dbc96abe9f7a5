/**
 * A GGUF file seen as a Hugging Face folder: config.json, tokenizer.json and a model.safetensors whose tensors are unpacked as they are
 * read. Refuses architectures whose settings it cannot give back, and adapters.
 */
import { CodedError } from '../../shared/errors'
import type { FileSource } from '../../shared/files'
import type { TensorData } from '../../shared/records'
import { decodeTensor, GGML_TYPES, type GgmlType } from './ggml-types'
import type { Config } from './gguf-config'
import { ggufFamily, hfNameOf, llama3Factors } from './gguf-families'
import { readGguf, readGgufTensor, type GgufFile, type GgufInfo } from './gguf-read'
import { readGgufTokenizer } from './gguf-tokenizer-read'
import { byteLength, planSafetensors } from './safetensors'

/** `general.architecture` → `model_type`, for those that can be read. */
const MODEL_TYPES: Readonly<Record<string, string>> = { llama: 'llama', qwen2: 'qwen2', qwen3: 'qwen3' }
const WEIGHTS = 'model.safetensors'
const ROPE_FACTORS = 'rope_freqs.weight'

/** The GGUF file of a folder that is no Hugging Face folder, or null. Throws CodedError `model.config` where there are several. */
export async function findGguf(source: FileSource): Promise<string | null> {
  const names = (await source.list()).map(({ name }) => name)
  const [first, second] = names.filter((name) => /\.gguf$/i.test(name))
  if (first === undefined || names.some((name) => name === 'config.json' || name.endsWith('/config.json'))) return null
  if (second === undefined) return first
  throw new CodedError('model.config', 'There are several GGUF files.', {
    where: `${first}, ${second}`,
    fix: 'Pick one of them. A model that is split over several files must be joined first (llama-gguf-split --merge).',
  })
}

/** The source itself, or, where it is a GGUF file, that file as a folder. Throws CodedError `model.*`. */
export async function asModelFolder(source: FileSource): Promise<FileSource> {
  const name = await findGguf(source)
  return name === null ? source : ggufFolder(source, name)
}

/** A GGUF file as a folder. Throws CodedError `model.header`, `model.truncated`, `model.unsupported`, `model.config`, `model.tokenizer`. */
export async function ggufFolder(source: FileSource, name: string): Promise<FileSource> {
  const gguf = await readGguf(source, name)
  const factors = gguf.tensors.has(ROPE_FACTORS) ? await readGgufTensor(source, gguf, ROPE_FACTORS) : null
  const plain = configOf(gguf)
  const config = factors ? { ...plain, rope_scaling: factorScaling(factors, plain) } : plain
  const { tokenizer, config: tokenizerConfig } = readGgufTokenizer(gguf.metadata)
  const weights = new VirtualWeights(source, gguf, config)
  const ends = ['eos', 'eot', 'eom'].map((key) => gguf.metadata.get(`tokenizer.ggml.${key}_token_id`))
  const generation = { bos_token_id: config.bos_token_id, eos_token_id: [...new Set(ends)].filter(isNumber) }
  const text = (value: unknown) => new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`)
  const files = new Map([
    ['config.json', text(config)],
    ['generation_config.json', text(generation)],
    ['tokenizer.json', text(tokenizer)],
    ['tokenizer_config.json', text(tokenizerConfig)],
  ])
  return {
    list: async () => [
      ...[...files].map(([file, bytes]) => ({ name: file, size: bytes.length })),
      { name: WEIGHTS, size: weights.size },
    ],
    async read(file, start = 0, end) {
      if (file === WEIGHTS) return weights.read(start, Math.min(end ?? weights.size, weights.size))
      const bytes = files.get(file)
      if (bytes) return bytes.slice(start, end)
      throw new CodedError('file.missing', `There is no ${file} in a GGUF file.`, { where: name, fix: '' })
    },
  }
}

const isNumber = (value: unknown): value is number => typeof value === 'number'

function unsupported(what: string, where: string): CodedError {
  return new CodedError('model.unsupported', what, {
    where,
    fix: 'Take the same model in Hugging Face layout: config.json, tokenizer.json and model.safetensors.',
  })
}

/** config.json from the metadata. */
function configOf({ metadata, tensors, file }: GgufFile): Config {
  if (metadata.get('general.type') === 'adapter')
    throw unsupported('This GGUF file holds an adapter and no model.', file)
  const architecture = String(metadata.get('general.architecture'))
  const modelType = Object.hasOwn(MODEL_TYPES, architecture) ? MODEL_TYPES[architecture] : undefined
  if (!modelType) {
    const known = Object.keys(MODEL_TYPES).join(', ')
    throw unsupported(`GGUF files of the architecture "${architecture}" cannot be read; ${known} can.`, file)
  }
  const value = (key: string) => metadata.get(`${architecture}.${key}`)
  const number = (key: string): number => {
    const found = value(key)
    if (isNumber(found)) return found
    throw new CodedError('model.config', `The file does not say its ${architecture}.${key}.`, {
      where: file,
      fix: 'Take the file from another place: this one is not complete.',
    })
  }
  const optional = (key: string, otherwise: number) => (value(key) === undefined ? otherwise : number(key))
  if (optional('expert_count', 0) > 0) throw unsupported('Mixtures of experts cannot be read.', file)
  const [heads, hidden] = [number('attention.head_count'), number('embedding_length')]
  const headDim = optional('attention.key_length', hidden / heads)
  if (optional('rope.dimension_count', headDim) !== headDim)
    throw unsupported('The file turns only a part of each head.', `${file}, ${architecture}.rope.dimension_count`)
  const [vocabulary = 0] = tensors.get('token_embd.weight')?.shape ?? []
  const theta = short(optional('rope.freq_base', 10_000))
  const bias = tensors.has('blk.0.attn_q.bias')
  const config: Config = {
    model_type: modelType,
    vocab_size: vocabulary,
    hidden_size: hidden,
    intermediate_size: number('feed_forward_length'),
    num_hidden_layers: number('block_count'),
    num_attention_heads: heads,
    num_key_value_heads: optional('attention.head_count_kv', heads),
    head_dim: headDim,
    max_position_embeddings: number('context_length'),
    rms_norm_eps: short(number('attention.layer_norm_rms_epsilon')),
    hidden_act: 'silu',
    tie_word_embeddings: !tensors.has('output.weight'),
    rope_theta: theta,
    ...(modelType === 'llama' ? { attention_bias: bias, mlp_bias: tensors.has('blk.0.ffn_up.bias') } : {}),
    ...(modelType === 'qwen2' ? { use_sliding_window: false } : {}),
    ...tokenIds(metadata),
  }
  const scaling = ropeScaling(value, number)
  return scaling ? { ...config, rope_scaling: scaling } : config
}

/** A number that was kept in single precision, as it was before: 1e-5 rather than 9.999999747378752e-6. */
function short(value: number): number {
  const nearest = Number(value.toPrecision(7))
  return Math.fround(nearest) === Math.fround(value) ? nearest : value
}

function tokenIds(metadata: ReadonlyMap<string, unknown>): Config {
  const names = { bos: 'bos_token_id', eos: 'eos_token_id', padding: 'pad_token_id' }
  const found = Object.entries(names).map(([key, name]) => [name, metadata.get(`tokenizer.ggml.${key}_token_id`)])
  return Object.fromEntries(found.filter(([, id]) => isNumber(id))) as Config
}

function ropeScaling(value: (key: string) => unknown, number: (key: string) => number): Config | null {
  const type = value('rope.scaling.type') ?? (isNumber(value('rope.scale_linear')) ? 'linear' : 'none')
  if (type === 'none') return null
  if (type !== 'linear' && type !== 'yarn')
    throw unsupported(`The rope scaling ${JSON.stringify(type)} is not known.`, 'rope.scaling.type')
  const factor = short(number(value('rope.scaling.factor') === undefined ? 'rope.scale_linear' : 'rope.scaling.factor'))
  const original = value('rope.scaling.original_context_length')
  const from = type === 'yarn' && isNumber(original) ? { original_max_position_embeddings: original } : {}
  return { rope_type: type, factor, ...from }
}

/** Llama 3's published settings; only the factor differs. */
const LLAMA3 = { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 }

/** Factors that divide the frequencies: Llama 3's settings where they give just these, else the factors as they stand. */
function factorScaling(factors: Float32Array, config: Config): Config {
  const llama3 = { rope_type: 'llama3', factor: short(Math.max(...factors)), ...LLAMA3 }
  const [same] = llama3Factors({ ...config, rope_scaling: llama3 })
  if (same?.values.length === factors.length) {
    const off = same.values.every((value, i) => Math.abs(value - (factors[i] as number)) <= 1e-5 * value)
    if (off) return llama3
  }
  const list = [...factors]
  const original = config.max_position_embeddings
  return {
    ...{ rope_type: 'longrope', long_factor: list, short_factor: list, factor: 1, attention_factor: 1 },
    original_max_position_embeddings: original,
  }
}

interface Entry {
  readonly info: GgufInfo
  readonly dtype: TensorData['dtype']
  /** Row of the folder's tensor → row of the file's, or null where the order is the same. */
  readonly rows: Int32Array | null
  readonly start: number
  readonly end: number
}

/** model.safetensors, made piece by piece. */
class VirtualWeights {
  readonly size: number
  readonly #head: Uint8Array
  readonly #entries: readonly Entry[]
  readonly #source: FileSource
  readonly #file: string
  #last: { entry: Entry; bytes: Promise<Uint8Array> } | null = null

  constructor(source: FileSource, gguf: GgufFile, config: Config) {
    this.#source = source
    this.#file = gguf.file
    const family = ggufFamily(config)
    const found = new Map<string, { info: GgufInfo; dtype: TensorData['dtype']; rows: Int32Array | null }>()
    const unknown: string[] = []
    for (const [name, info] of gguf.tensors) {
      if (name === ROPE_FACTORS) continue
      const target = hfNameOf(name)
      if (target === undefined) {
        unknown.push(name)
        continue
      }
      const order = family.rowOrder(target.replace(/\.(weight|bias)$/, ''), config)
      if (order && order.length !== info.shape[0])
        throw misshapen(`${name} has ${info.shape[0]} rows and should have ${order.length}`, gguf.file)
      found.set(target, { info, dtype: dtypeOf(info.type), rows: order && inverse(order) })
    }
    if (unknown.length > 0) throw misshapen(`unexpected ${unknown.slice(0, 8).join(', ')}`, gguf.file)
    const described = [...found].map(([name, { info, dtype }]) => [name, { dtype, shape: [...info.shape] }])
    const plan = planSafetensors(Object.fromEntries(described) as Record<string, TensorData>, { format: 'pt' })
    this.#head = plan.head
    this.size = plan.size
    let at = plan.head.length
    this.#entries = plan.order.map((name) => {
      const entry = found.get(name)!
      const start = at
      at += byteLength(entry.dtype, entry.info.shape)
      return { ...entry, start, end: at }
    })
  }

  async read(start: number, end: number): Promise<Uint8Array> {
    const whole = this.#entries.find((entry) => entry.start === start && entry.end === end)
    if (whole) return this.#tensor(whole, 0, end - start)
    const out = new Uint8Array(Math.max(0, end - start))
    if (start < this.#head.length) out.set(this.#head.subarray(start, Math.min(end, this.#head.length)))
    for (const entry of this.#entries) {
      const [from, to] = [Math.max(start, entry.start), Math.min(end, entry.end)]
      if (from < to) out.set(await this.#tensor(entry, from - entry.start, to - entry.start), from - start)
    }
    return out
  }

  /** Bytes of a tensor as the folder has it. Only the rows that are asked for are unpacked, but where rows change places. */
  async #tensor(entry: Entry, from: number, to: number): Promise<Uint8Array> {
    const { info, rows } = entry
    const total = entry.end - entry.start
    const count = info.shape.length > 1 ? (info.shape[0] as number) : 1
    if (rows && info.shape.length > 0) {
      if (this.#last?.entry !== entry) this.#last = { entry, bytes: this.#rows(entry, 0, count) }
      return (await this.#last.bytes).slice(from, to)
    }
    const wide = total / count
    const [first, last] = [Math.floor(from / wide), Math.ceil(to / wide)]
    const bytes = await this.#rows(entry, first, last)
    return bytes.length === to - from ? bytes : bytes.slice(from - first * wide, to - first * wide)
  }

  async #rows({ info, dtype, rows }: Entry, first: number, last: number): Promise<Uint8Array> {
    const count = rows ? rows.length : info.shape.length > 1 ? (info.shape[0] as number) : 1
    const wide = (info.end - info.start) / count
    const all = rows ? [0, count] : [first, last]
    const [start, end] = [info.start + all[0]! * wide, info.start + all[1]! * wide]
    const stored = await this.#source.read(this.#file, start, end)
    if (stored.length !== end - start)
      throw new CodedError('model.truncated', 'The file ends too early.', {
        where: this.#file,
        fix: 'The download or copy was cut off: fetch the file again.',
      })
    const ordered = rows ? reordered(stored, rows, wide) : stored
    if (dtype !== 'F32' || info.type === 'F32') return ordered
    const values = decodeTensor(info.type, ordered)
    return new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  }
}

function misshapen(what: string, file: string): CodedError {
  return new CodedError('model.tensors', `The weights do not fit what the file says of them: ${what}.`, {
    where: file,
    fix: 'Take the file from another place: this one is not what it says.',
  })
}

/** Half precision stays; what is packed in blocks is unpacked to f32. */
function dtypeOf(type: GgmlType): 'F32' | 'F16' | 'BF16' {
  return GGML_TYPES[type].block === 1 ? (type as 'F32' | 'F16' | 'BF16') : 'F32'
}

function inverse(order: Int32Array): Int32Array {
  const out = new Int32Array(order.length)
  order.forEach((old, now) => (out[old] = now))
  return out
}

function reordered(bytes: Uint8Array, rows: Int32Array, wide: number): Uint8Array {
  const out = new Uint8Array(bytes.length)
  rows.forEach((from, to) => out.set(bytes.subarray(from * wide, (from + 1) * wide), to * wide))
  return out
}
