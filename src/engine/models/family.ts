/** What a model family is: one file a family, listed in the registry. Refuses behaviour of its own. */
import type { ModelShape } from '../../shared/records'
import type { StackParts } from '../nn/stack'
import type { BaseConfig, ConfigReader } from './config'
import type { WeightLoader, WeightPlan } from './weights'

export interface Family<C extends BaseConfig = BaseConfig> {
  /** The `model_type`s of config.json that it reads. */
  readonly modelTypes: readonly string[]
  /** Reads and checks; problems are collected in the reader, which the registry finishes. */
  readConfig(config: ConfigReader, modelType: string): C
  /** Every tensor of the checkpoint. */
  plan(config: C): WeightPlan
  /** Builds the network's parts; `load` has matched the plan against the file and owns what it makes. */
  build(config: C, load: WeightLoader): Promise<StackParts>
  /** LoRA targets that the family has, by the last part of their name. */
  readonly targets: readonly string[]
  /** Its files hold linear weights as [in, out]. */
  readonly fanInFanOut?: boolean
}

/** The numbers of a config that the memory forecast needs. */
export function shapeOf(config: BaseConfig): ModelShape {
  return {
    hiddenSize: config.hiddenSize,
    intermediateSize: config.intermediateSize,
    layers: config.layers,
    heads: config.heads,
    kvHeads: config.kvHeads,
    headDim: config.headDim,
    vocabulary: config.vocabulary,
    tiedHead: config.tied,
  }
}
