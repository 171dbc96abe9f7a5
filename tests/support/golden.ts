/** Golden numbers and tiny models of tests/golden, read the same way in Node and in a browser. Refuses to write. */
import type { EncodedRow, BatchSource } from '../../src/shared/records'
import type { FileSource } from '../../src/shared/files'
import { completeJob, type Job } from '../../src/shared/job'
import { readSafetensorsHeader, readTensor, toFloat32 } from '../../src/engine/formats/safetensors'
import { asLora, readPeft, type LoraPeft, type PeftAdapter } from '../../src/engine/formats/peft'
import { createSession, loadModel, type Model, type TrainSession } from '../../src/engine'
import type { SessionInput } from '../../src/engine/train/session'
import { memoryFolder } from './memory-folder'

// In two steps: Vite rewrites `new URL(text, import.meta.url)` into an asset, and a folder is none.
const HERE = import.meta.url
const ROOT = new URL('../golden/', HERE)

/** A file of tests/golden. */
export async function bytesOf(path: string): Promise<Uint8Array> {
  const url = new URL(path, ROOT)
  if (url.protocol === 'file:') {
    const { readFile } = await import('node:fs/promises')
    return new Uint8Array(await readFile(url))
  }
  const response = await fetch(url)
  if (!response.ok) throw new Error(`${url.href}: ${response.status}`)
  return new Uint8Array(await response.arrayBuffer())
}

/** Some files of a golden folder as a source. */
export async function goldenFolder(folder: string, names: readonly string[]): Promise<FileSource> {
  const files = await Promise.all(names.map(async (name) => [name, await bytesOf(`${folder}/${name}`)] as const))
  return memoryFolder(Object.fromEntries(files))
}

const MODEL_FILES = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'] as const

/** The files of a case's base model. */
export function goldenSource(name: string): Promise<FileSource> {
  return goldenFolder(name, MODEL_FILES)
}

interface RowLoss {
  loss: number
  tokens: number
}

export interface Golden {
  rows: { input_ids: number[]; labels: number[] }[]
  logits_row: number
  row_losses: { base: RowLoss[]; adapter: RowLoss[] }
  greedy: Record<'base' | 'adapter', { prompt: number[]; ids: number[] }>
  settings: { steps: number; batch_size: number; grad_accum: number; lr: number; warmup_steps: number; clip: number }
  adapter: { r: number; lora_alpha: number; target_modules: string[] }
  runs: {
    name: string
    adapter: string
    parameters: number
    steps: { step: number; loss: number; grad_norm: number; lr: number; tokens: number }[]
    row_losses_after: RowLoss[]
  }[]
}

/** A JSON file of tests/golden. */
export async function goldenJson<T>(path: string): Promise<T> {
  return JSON.parse(new TextDecoder().decode(await bytesOf(path))) as T
}

export function readGolden(name: string): Promise<Golden> {
  return goldenJson<Golden>(`${name}/golden.json`)
}

/** What bitsandbytes' maths gave; see scripts/golden/record_quantised.py. */
interface Quantised {
  signed: number[]
  unsigned: number[]
  nf4: { shape: number[]; f16: number[]; codes: number[]; values: number[] }[]
  adamw8bit: Record<'lr' | 'beta1' | 'beta2' | 'eps' | 'decay', number> & { p: number[]; grads: number[][] } & Record<
      'after' | 'm' | 'm_scales' | 'v' | 'v_scales',
      number[]
    >
}

export async function readQuantised(): Promise<Quantised> {
  return goldenJson<Quantised>('quantised.json')
}

/** A run over rounded base weights; see scripts/golden/record_quantised_runs.py. */
export interface QuantisedRun {
  case: string
  mode: 'f16' | 'int8' | 'nf4'
  row_losses: RowLoss[]
  gradients: Record<string, number[]>
  steps: Golden['runs'][number]['steps']
  row_losses_after: RowLoss[]
}

export async function readQuantisedRuns(): Promise<QuantisedRun[]> {
  return goldenJson<QuantisedRun[]>('quantised-runs.json')
}

/** Every tensor of golden.safetensors as floats. */
export async function readGoldenTensors(name: string): Promise<Map<string, { shape: number[]; values: Float32Array }>> {
  const source = await goldenFolder(name, ['golden.safetensors'])
  const header = await readSafetensorsHeader(source, 'golden.safetensors')
  const tensors = new Map<string, { shape: number[]; values: Float32Array }>()
  for (const key of header.tensors.keys()) {
    const tensor = await readTensor(source, header, key)
    tensors.set(key, { shape: [...tensor.shape], values: toFloat32(tensor) })
  }
  return tensors
}

/** An adapter of a golden folder, of any method. */
export async function goldenPeft(folder: string): Promise<PeftAdapter> {
  return readPeft(await goldenFolder(folder, ['adapter_config.json', 'adapter_model.safetensors']))
}

/** A case's LoRA adapter. */
export async function goldenAdapter(name: string, adapter: string): Promise<LoraPeft> {
  return asLora(await goldenPeft(`${name}/${adapter}`))
}

export async function goldenModel(name: string): Promise<Model> {
  return loadModel(await goldenSource(name), { id: `local:${name}`, name })
}

export function encodedRows(golden: Golden): EncodedRow[] {
  return golden.rows.map(({ input_ids, labels }, index) => ({
    index,
    inputIds: Int32Array.from(input_ids),
    labels: Int32Array.from(labels),
  }))
}

/** Rows in file order, wrapping round. */
export function inOrder(rows: readonly EncodedRow[], batchSize: number): BatchSource {
  let position = 0
  return {
    rows: rows.length,
    next: () => Array.from({ length: batchSize }, () => rows[position++ % rows.length] as EncodedRow),
    cursor: () => ({ position, seed: 0 }),
    restore: (cursor) => {
      position = cursor.position
    },
  }
}

/** A session over rows in their order; it leaves the checkpoint that it goes on from as it is. */
export function sessionOver(
  rows: readonly EncodedRow[],
  { checkpoint, ...input }: Pick<SessionInput, 'model' | 'job'> & Partial<SessionInput>,
): Promise<TrainSession> {
  return createSession({
    ...{ batches: inOrder(rows, input.job.batchSize), evalRows: [], samplePrompt: null },
    ...input,
    ...(checkpoint ? { checkpoint: structuredClone(checkpoint) } : {}),
  })
}

/** The job that a case's runs were recorded with. */
export function goldenJob(golden: Golden, change: Partial<Job> = {}): Job {
  const { settings, adapter } = golden
  return completeJob({
    rank: adapter.r,
    alpha: adapter.lora_alpha,
    targets: adapter.target_modules,
    learningRate: settings.lr,
    batchSize: settings.batch_size,
    gradAccum: settings.grad_accum,
    steps: settings.steps,
    warmupSteps: settings.warmup_steps,
    weightDecay: 0.01,
    clip: settings.clip,
    evalFraction: 0,
    evalEvery: 1000,
    saveEvery: 1000,
    earlyStop: 0,
    shuffle: false,
    ...change,
  })
}
