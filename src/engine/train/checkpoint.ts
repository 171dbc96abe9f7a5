/**
 * A session as plain data and back: `adapter/…` and `adam/…` tensors by PEFT key, and everything that is not a tensor.
 * Refuses a checkpoint of another job.
 */
import { CodedError } from '../../shared/errors'
import { currentJob, type Job, type SettingKey } from '../../shared/job'
import type { Checkpoint, TensorData } from '../../shared/records'
import type { PeftAdapter } from '../formats/peft'
import { parseAdapterConfig } from '../formats/peft'
import { peftConfig } from '../adapters/settings'

/** Prefix of the adapter's tensors in a checkpoint. */
export const ADAPTER = 'adapter/'

/** The target that a PEFT key stands for: the last part of its module's name. */
const TARGET = /([^.]+)\.lora_[AB]\.weight$/

/** Settings that may differ between a checkpoint and the job that goes on from it: they do not change the numbers. */
const FREE: readonly SettingKey[] = [
  'backend',
  'samplePrompt',
  'sampleTokens',
  'model',
  'data',
  'evalData',
  'initAdapter',
]

/** @throws CodedError `checkpoint.mismatch` naming every setting that differs. */
export function checkSameJob(kept: Job, job: Job): void {
  const stored = currentJob(kept)
  const differing = (Object.keys(job) as SettingKey[]).filter(
    (key) => !FREE.includes(key) && JSON.stringify(stored[key]) !== JSON.stringify(job[key]),
  )
  if (differing.length === 0) return
  throw new CodedError('checkpoint.mismatch', `The checkpoint was made with other settings: ${differing.join(', ')}.`, {
    where: 'job',
    fix: 'Resume with the settings of the run, or start a new run.',
  })
}

/**
 * The adapter inside a checkpoint as PEFT has it, without a model or a device.
 * Its settings stand in the checkpoint; those of older ones follow from the job.
 */
export function checkpointAdapter(checkpoint: Checkpoint, baseName: string): PeftAdapter {
  const tensors: Record<string, TensorData> = {}
  for (const [name, tensor] of Object.entries(checkpoint.tensors)) {
    if (name.startsWith(ADAPTER)) tensors[name.slice(ADAPTER.length)] = tensor
  }
  const { adapterConfig } = checkpoint.meta
  const job = currentJob(checkpoint.meta.job)
  const targets = [...new Set(Object.keys(tensors).flatMap((key) => TARGET.exec(key)?.[1] ?? []))]
  const config = adapterConfig
    ? parseAdapterConfig(adapterConfig)
    : peftConfig({ rank: job.rank, alpha: job.alpha, dropout: job.dropout, targets }, baseName)
  return { config: { ...config, base_model_name_or_path: baseName }, tensors }
}
