/** Which family reads which `model_type`. Refuses the rest by naming the nearest supported ones. */
import { CodedError } from '../../shared/errors'
import { edits } from '../../shared/nearest'
import type { BaseConfig } from './config'
import { ConfigReader } from './config'
import type { Family } from './family'
import { gemma2, gemma3 } from './gemma'
import { gptNeox } from './gpt-neox'
import { gpt2 } from './gpt2'
import { granite } from './granite'
import { llama } from './llama'
import { mistral } from './mistral'
import { olmo2 } from './olmo2'
import { phi } from './phi'
import { phi3 } from './phi3'
import { qwen2 } from './qwen2'
import { qwen3 } from './qwen3'
import { smollm3 } from './smollm3'

/** Every family; a new one is one file and one entry here. */
const FAMILIES = [
  llama,
  mistral,
  qwen2,
  qwen3,
  smollm3,
  gemma2,
  gemma3,
  phi,
  phi3,
  gpt2,
  gptNeox,
  olmo2,
  granite,
] as unknown as readonly Family[]

/** All `model_type`s that load. */
const SUPPORTED_MODEL_TYPES: readonly string[] = FAMILIES.flatMap((family) => family.modelTypes)

/**
 * The family and the checked settings of a config.json.
 * @throws CodedError `model.unsupported` (naming the nearest supported types), `model.config`.
 */
export function readConfig(json: unknown): { family: Family; config: BaseConfig } {
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw new CodedError('model.config', 'config.json does not hold an object.', {
      where: 'config.json',
      fix: 'Take config.json from the same place as the weights.',
    })
  const fields = json as Record<string, unknown>
  const modelType = fields.model_type
  if (typeof modelType !== 'string')
    throw new CodedError('model.config', 'config.json does not name its model_type.', {
      where: 'config.json',
      fix: 'Choose a folder in Hugging Face layout, with the config.json of the model itself.',
    })
  const family = FAMILIES.find((candidate) => candidate.modelTypes.includes(modelType))
  if (!family)
    throw new CodedError('model.unsupported', `Models of type "${modelType}" are not supported.`, {
      where: 'config.json, model_type',
      fix: `Nearest supported: ${nearest(modelType).join(', ')}. Choose a model of one of these types: ${SUPPORTED_MODEL_TYPES.join(', ')}.`,
    })
  if (fields.quantization_config)
    throw new CodedError('model.unsupported', 'The weights of this model are stored quantised.', {
      where: 'config.json, quantization_config',
      fix: 'Choose the original model with float weights (f32, f16 or bf16).',
    })
  const reader = new ConfigReader(fields)
  const config = family.readConfig(reader, modelType)
  reader.finish()
  return { family, config }
}

/** The three supported types spelt most alike, by edit distance; a shared beginning counts most. */
function nearest(modelType: string): string[] {
  const score = (candidate: string): number => {
    let shared = 0
    while (shared < candidate.length && candidate[shared] === modelType[shared]) shared++
    return edits(modelType, candidate) - 2 * shared
  }
  return [...SUPPORTED_MODEL_TYPES].sort((a, b) => score(a) - score(b)).slice(0, 3)
}
