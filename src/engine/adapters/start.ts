/**
 * The one place that makes what a run trains: afresh as its job says, from a stored one, or from a checkpoint. Refuses what the method's
 * own file refuses.
 */
import { CodedError } from '../../shared/errors'
import type { Job } from '../../shared/job'
import type { Checkpoint } from '../../shared/records'
import { asLora, jobOf, type FullConfig, type PeftAdapter } from '../formats/peft'
import { hasHead } from '../formats/peft-lora'
import type { BottleneckConfig, Ia3Config, PrefixConfig, PromptConfig } from '../formats/peft-methods'
import type { Model } from '../models/model'
import { checkpointAdapter } from '../train/checkpoint'
import { mixSeed, seedOf, uniform } from '../random'
import { createBottleneck, loadBottleneck } from './bottleneck'
import { loadClassifier, startClassifier } from './classifier'
import type { FreezeSettings } from './freeze'
import { createFull, loadFull } from './full'
import { createIa3, loadIa3 } from './ia3'
import { createLora, loadLora, type LoadOptions } from './lora'
import type { PrincipalPair } from './pissa'
import { createPrefix, loadPrefix } from './prefix'
import { createPrompt, loadPrompt } from './prompt'
import { loraSettings } from './settings'
import type { Trainable } from './trainable'

/** What was stored, on a model. Throws CodedError `adapter.mismatch` listing every bad tensor, `adapter.unsupported`. */
export function loadTrainable(
  model: Model,
  stored: PeftAdapter,
  options: LoadOptions & { job?: FreezeSettings } = {},
): Trainable {
  const { config } = stored
  switch (config.peft_type) {
    case 'FULL':
      return loadFull(model, stored as PeftAdapter<FullConfig>, options.job)
    case 'IA3':
      return loadIa3(model, stored as PeftAdapter<Ia3Config>)
    case 'PROMPT_TUNING':
      return loadPrompt(model, stored as PeftAdapter<PromptConfig>)
    case 'PREFIX_TUNING':
      return loadPrefix(model, stored as PeftAdapter<PrefixConfig>)
    case 'FINETAB_BOTTLENECK':
      return loadBottleneck(model, stored as PeftAdapter<BottleneckConfig>)
    default: {
      const lora = asLora(stored)
      return (hasHead(lora.config) ? loadClassifier : loadLora)(model, lora, options)
    }
  }
}

export interface Start {
  readonly model: Model
  readonly initAdapter?: PeftAdapter
  readonly checkpoint?: Checkpoint
  /** What a fresh adapter starts from, by module, where it is not zero (PiSSA). */
  readonly starts?: ReadonlyMap<string, PrincipalPair> | undefined
  /** What a head is to tell apart, where the job trains one. */
  readonly classes?: readonly string[] | undefined
}

/** What a job trains. Throws CodedError `job.invalid` where the model has none of what is to be trained, and as {@link loadTrainable}. */
export function startTrainable({ model, initAdapter, checkpoint, starts, classes }: Start, job: Job): Trainable {
  const ratio = job.loraPlus
  if (checkpoint) {
    const stored = checkpointAdapter(checkpoint, model.record.name)
    return loadTrainable(model, stored, { ratio, job, hasStart: checkpoint.meta.hasStart ?? false })
  }
  if (job.objective === 'classification')
    return startClassifier(model, job, classes ?? [], initAdapter ? asLora(initAdapter) : null)
  if (initAdapter) {
    refuseOtherMethod(initAdapter, job)
    return loadTrainable(model, initAdapter, { ratio, job })
  }
  return createTrainable(model, job, starts ?? null)
}

function refuseOtherMethod({ config }: PeftAdapter, { method }: Job): void {
  const { method: own = method, objective } = jobOf(config)
  if (objective === 'classification')
    throw new CodedError('job.invalid', 'The adapter to start from has a classification head.', {
      where: 'objective',
      fix: 'Set the objective to classification, or start from a fresh adapter.',
    })
  if (own === method) return
  throw new CodedError('job.invalid', `The adapter to start from is of the method ${own}, the job of ${method}.`, {
    where: 'method',
    fix: `Set the method to ${own}, or start from a fresh adapter.`,
  })
}

function createTrainable(model: Model, job: Job, starts: Start['starts'] | null): Trainable {
  switch (job.method) {
    case 'lora':
      return createLora(model, loraSettings(job), job.seed, starts ?? null)
    case 'full':
      return createFull(model, job)
    case 'ia3':
      return createIa3(model)
    case 'bottleneck':
      return createBottleneck(model, { width: job.bottleneckSize, places: job.bottleneckPlaces }, job.seed)
    case 'prompt':
      return createPrompt(model, startTokens(model, job))
    case 'prefix':
      return createPrefix(model, startTokens(model, job))
  }
}

/** The real tokens that virtual ones start as: those of a text, again and again, or any of the vocabulary by the seed. */
function startTokens({ tokenizer, network }: Model, { virtualTokens, virtualText, seed }: Job): number[] {
  const text = tokenizer.encode(virtualText, { addSpecialTokens: false })
  const next = uniform(mixSeed(seed, seedOf('virtual tokens')))
  const any = (): number => Math.floor(next() * Math.min(tokenizer.vocabularySize, network.vocabulary))
  return Array.from({ length: virtualTokens }, (_, i) => text[i % text.length] ?? any())
}
