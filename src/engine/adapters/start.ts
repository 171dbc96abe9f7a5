/**
 * The one place that makes what a run trains: afresh as its job says, from a stored one, or from a checkpoint. Refuses what the method's
 * own file refuses.
 */
import type { Job } from '../../shared/job'
import type { Checkpoint } from '../../shared/records'
import { asLora, type FullConfig, type PeftAdapter } from '../formats/peft'
import type { Model } from '../models/model'
import { checkpointAdapter } from '../train/checkpoint'
import { createFull, loadFull } from './full'
import { createLora, loadLora, type LoadOptions } from './lora'
import type { PrincipalPair } from './pissa'
import { loraSettings } from './settings'
import type { Trainable } from './trainable'

/** What was stored, on a model. Throws CodedError `adapter.mismatch` listing every bad tensor, `adapter.unsupported`. */
export function loadTrainable(model: Model, stored: PeftAdapter, options: LoadOptions = {}): Trainable {
  if (stored.config.peft_type === 'FULL') return loadFull(model, stored as PeftAdapter<FullConfig>)
  return loadLora(model, asLora(stored), options)
}

export interface Start {
  readonly model: Model
  readonly initAdapter?: PeftAdapter
  readonly checkpoint?: Checkpoint
  /** What a fresh adapter starts from, by module, where it is not zero (PiSSA). */
  readonly starts?: ReadonlyMap<string, PrincipalPair> | undefined
}

/** What a job trains. Throws CodedError `job.invalid` where the model has none of what is to be trained, and as {@link loadTrainable}. */
export function startTrainable({ model, initAdapter, checkpoint, starts }: Start, job: Job): Trainable {
  const ratio = job.loraPlus
  if (checkpoint) {
    const stored = checkpointAdapter(checkpoint, model.record.name)
    return loadTrainable(model, stored, { ratio, hasStart: checkpoint.meta.hasStart ?? false })
  }
  if (initAdapter) return loadTrainable(model, initAdapter, { ratio })
  if (job.method === 'full') return createFull(model)
  return createLora(model, loraSettings(job), job.seed, starts ?? null)
}
