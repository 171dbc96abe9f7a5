/**
 * Models and adapters as GGUF files for llama.cpp, LM Studio and Ollama: merged (f32, f16, bf16, q8_0), or the LoRA alone. Refuses families and
 * tokenizers that cannot be written so that they are read back as the same model.
 */
import { CodedError } from '../../shared/errors'
import type { FileSource } from '../../shared/files'
import type { Tokenizer } from '../tokenizer'
import { readTokenizerFiles } from '../tokenizer/files'
import { openWeights, type Weights } from './checkpoint-index'
import type { GgmlType } from './ggml-types'
import { readGguf, readGgufTensor } from './gguf-read'
import { writeGguf, type GgufMetadata, type GgufTensor } from './gguf-write'
import { ggufFamily, type GgufFamily } from './gguf-families'
import { ggufTokenizer } from './gguf-tokenizer'
import { becomesUntied, mergeWeights } from './merge'
import type { OutFile } from './out-file'
import { plainDeltas, type PeftAdapter } from './peft'
import { toFloat32 } from './safetensors'

/** What is written, beside the file itself, so that it can be read back and compared. */
interface GgufExport {
  readonly file: OutFile
  readonly tensors: readonly GgufTensor[]
}

type Config = Record<string, unknown>
/** `general.file_type` of llama.cpp. */
const FILE_TYPES = { F32: 0, F16: 1, Q8_0: 7, BF16: 32 } as const
/** How the matrices of a whole model may be stored. */
type GgufDtype = keyof typeof FILE_TYPES

/**
 * The whole model with the adapter merged in. Norms, biases and small tensors stay F32.
 * Throws CodedError `model.unsupported`, `model.tokenizer`, `model.tensors`, `adapter.mismatch`.
 */
export async function exportGguf(input: {
  source: FileSource
  adapter: PeftAdapter | null
  tokenizer: Tokenizer
  chatTemplate?: string
  type: GgufDtype
  /** Of the model, for people. */
  name: string
  fileName?: string
}): Promise<GgufExport> {
  const { source, adapter, tokenizer, type } = input
  const baseConfig = await readConfig(source)
  const unties = adapter !== null && becomesUntied(baseConfig, adapter)
  const config = unties ? { ...baseConfig, tie_word_embeddings: false } : baseConfig
  const family = ggufFamily(config)
  const base = await openWeights(source)
  const weights = adapter ? mergeWeights(base, adapter, unties) : base
  const tensors = modelTensors(weights, family, config, type)
  const embedding = tensors.find((tensor) => tensor.name === 'token_embd.weight')
  const spec = await readTokenizerFiles(source)
  const metadata: GgufMetadata = [
    ['general.architecture', { type: 'string', value: family.architecture }],
    ['general.type', { type: 'string', value: 'model' }],
    ['general.name', { type: 'string', value: input.name }],
    ...family.metadata(config).map(([key, value]) => [`${family.architecture}.${key}`, value] as const),
    ['general.file_type', { type: 'u32', value: FILE_TYPES[type] }],
    ['general.quantization_version', { type: 'u32', value: 2 }],
    ...ggufTokenizer(spec, tokenizer, embedding?.shape[0] ?? tokenizer.vocabularySize, input.chatTemplate),
  ]
  return { file: writeGguf(input.fileName ?? `model-${type.toLowerCase()}.gguf`, metadata, tensors), tensors }
}

async function readConfig(source: FileSource): Promise<Config> {
  return JSON.parse(new TextDecoder().decode(await source.read('config.json'))) as Config
}

function modelTensors(weights: Weights, family: GgufFamily, config: Config, type: GgufDtype): GgufTensor[] {
  const tied = config.tie_word_embeddings === true
  const names = new Set(weights.names)
  const unknown: string[] = []
  const out: GgufTensor[] = []
  for (const name of weights.names) {
    let target = family.name(name)
    if (target === undefined) unknown.push(name)
    if (!target) continue
    if (target === 'output.weight' && tied) {
      if (names.has('model.embed_tokens.weight') || names.has('transformer.wte.weight') || names.has('wte.weight'))
        continue
      // Some files keep only the head of a tied pair.
      target = 'token_embd.weight'
    }
    out.push(modelTensor(name, target, weights, family, config, type))
  }
  if (unknown.length > 0)
    throw new CodedError('model.tensors', `GGUF has no place for ${unknown.slice(0, 8).join(', ')}.`, {
      where: 'model.safetensors',
      fix: 'Export the merged model instead.',
    })
  for (const { name, values } of family.extra(config))
    out.unshift({ name, shape: [values.length], type: 'F32', values: async () => values })
  return out
}

function modelTensor(
  name: string,
  target: string,
  weights: Weights,
  family: GgufFamily,
  config: Config,
  type: GgufDtype,
): GgufTensor {
  const stored = weights.info(name).shape
  const turned = family.transposed && stored.length === 2 && target.startsWith('blk.')
  const shape = turned ? [...stored].reverse() : [...stored]
  const order = family.rowOrder(name.replace(/\.(weight|bias)$/, ''), config)
  return {
    name: target,
    shape,
    type: tensorType(target, shape, type),
    async values() {
      let values = toFloat32(await weights.read(name))
      if (turned) values = transpose(values, stored[0] as number, stored[1] as number)
      if (order) values = reorderRows(values, order)
      if (family.normShift !== 0 && target.endsWith('norm.weight'))
        values = values.map((value) => value + family.normShift)
      return values
    },
  }
}

/** As llama.cpp's converter chooses: only matrices are packed, and only where blocks fill their rows. */
function tensorType(name: string, shape: readonly number[], type: GgufDtype): GgmlType {
  if (shape.length < 2 || name.startsWith('position_embd')) return 'F32'
  return type === 'Q8_0' && (shape[shape.length - 1] as number) % 32 !== 0 ? 'F16' : type
}

/** `[rows, columns]` → `[columns, rows]`. */
function transpose(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length)
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) out[column * rows + row] = values[row * columns + column] as number
  return out
}

/** Row i of the result is row `order[i]`. */
function reorderRows(values: Float32Array, order: Int32Array): Float32Array {
  const out = new Float32Array(values.length)
  const columns = values.length / order.length
  order.forEach((from, to) => out.set(values.subarray(from * columns, (from + 1) * columns), to * columns))
  return out
}

/**
 * The adapter alone, to be loaded beside its base model. llama.cpp always multiplies by alpha / rank; where an adapter asks for
 * another scale (rsLoRA, patterns), it is written into alpha or into B.
 * Throws CodedError `model.unsupported`, `adapter.mismatch`.
 */
export async function exportGgufLora(input: {
  source: FileSource
  adapter: PeftAdapter
  name: string
  fileName?: string
}): Promise<GgufExport> {
  const config = await readConfig(input.source)
  const family = ggufFamily(config)
  const deltas = plainDeltas(input.adapter)
  const first = deltas[0]!
  const alpha = first.scale * first.rank
  const unknown: string[] = []
  const tensors = deltas.flatMap((delta): GgufTensor[] => {
    const target = family.name(`${delta.module}.weight`)
    if (!target) {
      unknown.push(delta.module)
      return []
    }
    const factor = delta.scale / (alpha / delta.rank)
    const order = family.rowOrder(delta.module, config)
    return [
      { name: `${target}.lora_a`, shape: delta.a.shape, type: 'F32', values: async () => toFloat32(delta.a) },
      {
        name: `${target}.lora_b`,
        shape: delta.b.shape,
        type: 'F32',
        values: async () => {
          const ordered = order ? reorderRows(toFloat32(delta.b), order) : toFloat32(delta.b)
          return factor === 1 ? ordered : ordered.map((value) => value * factor)
        },
      },
    ]
  })
  if (unknown.length > 0)
    throw new CodedError('adapter.mismatch', `GGUF has no place for ${unknown.join(', ')}.`, {
      where: 'adapter_model.safetensors',
      fix: 'Export the merged model instead.',
    })
  const metadata: GgufMetadata = [
    ['general.architecture', { type: 'string', value: family.architecture }],
    ['general.type', { type: 'string', value: 'adapter' }],
    ['general.name', { type: 'string', value: input.name }],
    ['adapter.type', { type: 'string', value: 'lora' }],
    ['adapter.lora.alpha', { type: 'f32', value: alpha }],
  ]
  return { file: writeGguf(input.fileName ?? 'adapter.gguf', metadata, tensors), tensors }
}

/** What reading a written file back found. */
interface GgufCheck {
  tensors: number
  /** Largest |written - wanted| of any value; rounding of the type included. */
  largestDifference: number
}

/**
 * Reads a written file and compares every tensor with what it should hold. Throws CodedError `export.verify` where names, shapes or
 * types differ or a value is further off than its type rounds.
 */
export async function checkGguf(source: FileSource, name: string, wanted: readonly GgufTensor[]): Promise<GgufCheck> {
  const gguf = await readGguf(source, name)
  const wrong = (what: string, tensor: string) =>
    new CodedError('export.verify', what, {
      where: `${name}, tensor ${tensor}`,
      fix: 'Do not use the file; export it again.',
    })
  if (gguf.tensors.size !== wanted.length)
    throw wrong(`The file has ${gguf.tensors.size} tensors instead of ${wanted.length}.`, '')
  let largestDifference = 0
  for (const tensor of wanted) {
    const info = gguf.tensors.get(tensor.name)
    if (!info || info.type !== tensor.type || info.shape.join() !== tensor.shape.join())
      throw wrong('The tensor is missing or of another shape.', tensor.name)
    const [read, values] = [await readGgufTensor(source, gguf, tensor.name), await tensor.values()]
    const columns = tensor.type === 'Q8_0' ? 32 : 1
    for (let start = 0; start < values.length; start += columns) {
      let size = 0
      for (let i = start; i < start + columns; i++) size = Math.max(size, Math.abs(values[i] as number))
      for (let i = start; i < start + columns; i++) {
        const difference = Math.abs((read[i] as number) - (values[i] as number))
        if (!(difference <= tolerance(tensor.type, size)))
          throw wrong(`Value ${i} is ${read[i]} and should be ${values[i]}.`, tensor.name)
        if (difference > largestDifference) largestDifference = difference
      }
    }
  }
  return { tensors: wanted.length, largestDifference }
}

/** How far a type may be off for a value (or block) of this size. */
function tolerance(type: GgmlType, size: number): number {
  if (type === 'F32') return 0
  if (type === 'F16') return size * 2 ** -11 + 2 ** -25
  return type === 'BF16' ? size * 2 ** -8 : size * (0.5 / 127 + 2 ** -10) + 2 ** -17
}
