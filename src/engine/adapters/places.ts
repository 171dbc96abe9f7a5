/** Which linear layers a method sits on: those a job names, keys and values, what attention and feed-forward end in. Refuses layers it does not know. */
import { patternValue } from '../formats/peft-lora'
import { CodedError } from '../../shared/errors'
import { LORA_TARGETS } from '../../shared/job'
import type { Model } from '../models/model'
import type { LinearSpec } from '../nn/network'
import { layersToTransform, type LoraSettings } from './settings'

/** Ends of module names, which are also what PEFT takes for targets. */
const KEYS_AND_VALUES = ['k_proj', 'v_proj', 'c_attn', 'query_key_value', 'qkv_proj']
const ATTENTION_OUTPUT = ['o_proj', 'self_attn.dense', 'attention.dense', 'attn.c_proj']
const MLP_OUTPUT = ['down_proj', 'fc2', 'mlp.c_proj', 'dense_4h_to_h']

/** Layers with the ends of their names, in the order of the layers. */
export interface Places {
  readonly specs: readonly LinearSpec[]
  readonly names: readonly string[]
}

/** Whether a module's name ends in one of the names. */
export function endsIn(module: string, names: readonly string[]): boolean {
  return names.some((name) => module === name || module.endsWith(`.${name}`))
}

/** Whether a layer is among those of these numbers, which null stands for all of. */
export function isIn({ layer }: LinearSpec, layers: readonly number[] | null): boolean {
  return layers === null || layers.includes(layer)
}

/** The layers that an adapter of these settings sits on, and its targets by the names that the family has. */
export function adaptedLayers(model: Model, settings: LoraSettings): { specs: LinearSpec[]; targets: string[] } {
  // The whole list means all linear layers, whatever a family calls them.
  const all = LORA_TARGETS.every((target) => settings.targets.includes(target))
  const targets = all ? model.targets : settings.targets
  const layers = layersToTransform(settings.layers ?? 0, model.network.layers)
  const specs = model.network.linears.filter((spec) => endsIn(spec.module, targets) && isIn(spec, layers))
  // A name that other families have may stand in a list for many models.
  const isKnown = (target: string): boolean =>
    LORA_TARGETS.some((known) => known === target) ||
    model.network.linears.some(({ module }) => endsIn(module, [target]))
  const strangers = specs.length === 0 ? settings.targets : settings.targets.filter((target) => !isKnown(target))
  if (strangers.length > 0 || specs.length === 0)
    throw new CodedError('job.invalid', `This model has none of the layers ${strangers.join(', ')}.`, {
      where: 'targets',
      fix: `Choose among ${model.targets.join(', ')}.`,
    })
  for (const [where, pattern] of [
    ['rankPattern', settings.ranks ?? {}],
    ['alphaPattern', settings.alphas ?? {}],
  ] as const) {
    const stray = Object.keys(pattern).find((name) =>
      specs.every(({ module }) => patternValue({ [name]: 1 }, module, 0) === 0),
    )
    if (stray === undefined) continue
    throw new CodedError('job.invalid', `No adapted layer has a name that ends in "${stray}".`, {
      where,
      fix: `Name one such as ${specs[0]?.module ?? ''}, or its last part.`,
    })
  }
  return { specs, targets: targets.filter((target) => specs.some((spec) => endsIn(spec.module, [target]))) }
}

function among(model: Model, names: readonly string[]): Places {
  const specs = model.network.linears.filter(({ module }) => endsIn(module, names))
  const found = names.filter((name) => specs.some(({ module }) => endsIn(module, [name])))
  if (specs.length > 0) return { specs, names: found }
  throw new CodedError('job.invalid', 'This method does not know the layers of this model.', {
    where: 'method',
    fix: 'Choose LoRA.',
  })
}

/** What computes keys and values; where queries come with them, those too. */
export function keyValueLayers(model: Model): Places {
  return among(model, KEYS_AND_VALUES)
}

/** The last layer of each feed-forward block. */
export function mlpOutputs(model: Model): Places {
  return among(model, MLP_OUTPUT)
}

/** The last layer of each block of attention and of each feed-forward block. */
export function blockOutputs(model: Model): Places {
  return among(model, [...ATTENTION_OUTPUT, ...MLP_OUTPUT])
}
