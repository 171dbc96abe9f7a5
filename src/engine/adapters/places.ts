/** Which linear layers of a family do what: keys and values, and what attention and feed-forward end in. Refuses layers it does not know. */
import { CodedError } from '../../shared/errors'
import type { Model } from '../models/model'
import type { LinearSpec } from '../nn/network'

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
