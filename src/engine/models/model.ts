/**
 * From a folder to a model: inspect without a device, load onto one. Refuses bad models with coded errors and leaves nothing
 * on the device when a load fails.
 */
import { CodedError } from '../../shared/errors'
import type { FileSource, OnProgress } from '../../shared/files'
import type { ModelId, ModelRecord } from '../../shared/records'
import type { Weights } from '../formats/checkpoint-index'
import { openWeights } from '../formats/checkpoint-index'
import { firstNotFinite } from '../formats/safetensors'
import type { Network } from '../nn/network'
import { Stack } from '../nn/stack'
import { freeUnused } from '../ops/replay'
import type { ChatTemplate } from '../tokenizer/chat-template'
import { loadChatTemplate } from '../tokenizer/chat-template'
import type { Tokenizer } from '../tokenizer'
import { loadTokenizer } from '../tokenizer'
import type { BaseConfig } from './config'
import type { Family } from './family'
import { shapeOf } from './family'
import type { Quantization } from './precision'
import { readConfig } from './registry'
import { count, matchWeights, notFinite, WeightLoader } from './weights'

/** A model on the device with all that is needed to feed it and to read its answers. */
export interface Model {
  readonly record: ModelRecord
  /** How its frozen weights are kept. */
  readonly quantization: Quantization
  readonly config: BaseConfig
  readonly network: Network
  readonly tokenizer: Tokenizer
  readonly chatTemplate: ChatTemplate
  /** Ids that end an answer. */
  readonly endIds: ReadonlySet<number>
  /** Last parts of the names of the linear layers that an adapter may sit on. */
  readonly targets: readonly string[]
  /** Whether its files hold weights as [in, out] (GPT-2), which PEFT wants to know. */
  readonly fanInFanOut: boolean
  dispose(): void
}

interface Opened {
  record: ModelRecord
  family: Family
  config: BaseConfig
  weights: Weights
  tokenizer: Tokenizer
  chatTemplate: ChatTemplate
}

async function readJson(source: FileSource, name: string): Promise<unknown> {
  const bytes = await source.read(name)
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown
  } catch (error) {
    throw new CodedError('model.config', `${name} is not valid JSON.`, {
      where: name,
      fix: 'Take the file again from where the model comes from.',
      cause: error,
    })
  }
}

async function open(source: FileSource, id: ModelId, name: string): Promise<Opened> {
  const files = await source.list()
  if (!files.some((file) => file.name === 'config.json'))
    throw new CodedError('file.missing', 'There is no config.json.', {
      where: 'config.json',
      fix: 'Choose the folder that holds config.json, tokenizer.json and model.safetensors.',
    })
  const { family, config } = readConfig(await readJson(source, 'config.json'))
  const weights = await openWeights(source)
  const plan = family.plan(config)
  const found = [...matchWeights(plan, weights).values()]
  const tokenizer = await loadTokenizer(source)
  if (tokenizer.vocabularySize > config.vocabulary)
    throw new CodedError(
      'model.tokenizer',
      `The tokenizer has ${tokenizer.vocabularySize} tokens and the model only ${config.vocabulary}.`,
      { where: 'tokenizer.json', fix: 'Take the tokenizer from the same place and revision as the weights.' },
    )
  const chatTemplate = await loadChatTemplate(source, tokenizer)
  const record: ModelRecord = {
    id,
    name,
    family: config.modelType,
    parameters: found.reduce((sum, tensor) => sum + count(weights.info(tensor).shape), 0),
    vocabulary: config.vocabulary,
    context: config.maxPositions,
    layers: config.layers,
    hidden: config.hiddenSize,
    bytes: files.reduce((sum, file) => sum + file.size, 0),
    dtype: mostCommonType(weights, found),
    hasChatTemplate: chatTemplate.builtIn === null,
    addedAt: 0,
    shape: shapeOf(config),
  }
  return { record, family, config, weights, tokenizer, chatTemplate }
}

function mostCommonType(weights: Weights, names: readonly string[]): string {
  const elements = new Map<string, number>()
  for (const name of names) {
    const { dtype, shape } = weights.info(name)
    elements.set(dtype, (elements.get(dtype) ?? 0) + count(shape))
  }
  return [...elements].sort((a, b) => b[1] - a[1])[0]?.[0] ?? 'F32'
}

/**
 * Reads config, headers and tokenizer and checks that they fit together; needs no device and reads no weights.
 * @throws CodedError `model.*`, `file.missing`.
 */
export async function inspectModel(source: FileSource, id: ModelId, name: string): Promise<ModelRecord> {
  return (await open(source, id, name)).record
}

/**
 * As {@link inspectModel}, and looks at every number of the weights: tensor by tensor as the file has it, and on no device, so that a
 * model that only fits there in fewer bits can be checked too.
 * @throws CodedError `model.*`, `model.not-finite` among them, `file.missing`; what the signal was aborted with.
 */
export async function checkModel(
  source: FileSource,
  { id, name, onProgress, signal }: { id: ModelId; name: string; onProgress?: OnProgress; signal?: AbortSignal },
): Promise<ModelRecord> {
  const { record, family, config, weights } = await open(source, id, name)
  const found = [...new Set(matchWeights(family.plan(config), weights).values())]
  const total = record.parameters
  let done = 0
  for (const tensor of found) {
    signal?.throwIfAborted()
    const data = await weights.read(tensor)
    const at = firstNotFinite(data)
    if (at !== -1) throw notFinite(tensor, at)
    done += count(data.shape)
    onProgress?.({ stage: 'Checking every number', done, total, unit: 'items' })
  }
  return record
}

/**
 * Loads a model onto the current device, tensor by tensor: at its peak there is what is kept of the tensors so far, and one tensor
 * as the file has it and in f32.
 * @throws CodedError `model.*` (also `model.not-finite`, which {@link inspectModel} cannot see), `file.missing`.
 */
export async function loadModel(
  source: FileSource,
  options: {
    id: ModelId
    name: string
    /** How the frozen weights are kept; `none` where left out. */
    quantization?: Quantization
    onProgress?: OnProgress
    signal?: AbortSignal
  },
): Promise<Model> {
  const { record, family, config, weights, tokenizer, chatTemplate } = await open(source, options.id, options.name)
  const loader = new WeightLoader(weights, family.plan(config), options)
  let network: Network
  try {
    network = new Stack(await family.build(config, loader), loader)
  } catch (error) {
    loader.dispose()
    throw error
  }
  return {
    record,
    quantization: options.quantization ?? 'none',
    config,
    network,
    tokenizer,
    chatTemplate,
    endIds: tokenizer.endIds,
    targets: family.targets,
    fanInFanOut: family.fanInFanOut ?? false,
    dispose() {
      network.dispose()
      freeUnused()
    },
  }
}
