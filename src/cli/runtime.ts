/** Device, model and adapter for the commands. Refuses to choose silently: what runs where is said. */
import type { Trainable, Device, Model, Tuning } from '../engine'
import { loadTrainable, loadModel, openDevice, tuneOnce } from '../engine'
import type { Job } from '../shared/job'
import { completeJob } from '../shared/job'
import { openAdapter } from './adapter'
import type { CommandContext } from './context'
import { openGpu, wasmFolder } from './gpu'
import type { ModelFolder } from './model-folder'
import { nodeThreads } from './threads'
import type { RunNote } from './session-folder'
import { readTraining } from './training-record'

/** Opens the backend of a job: WebGPU where `auto` finds a graphics card, else wasm. */
export async function openBackend(
  { backend: choice, arithmetic }: Pick<Job, 'backend' | 'arithmetic'>,
  { options, output }: CommandContext,
): Promise<Device> {
  const gpu = choice === 'wasm' ? null : await openGpu(choice === 'webgpu', arithmetic === 'matrix')
  const device = await openDevice(choice, {
    gpu: gpu ?? undefined,
    wasmPath: wasmFolder(),
    threads: nodeThreads(options.threads),
  })
  const { backend, adapter, note } = device.report
  output.note(`Runs on ${backend}: ${adapter}${choice === 'auto' && note ? `. ${note}` : ''}`)
  return device
}

/** Measures how the graphics card multiplies fastest, unless the run to resume says; what is to be noted of it. */
export async function tuneDevice(
  resumed: RunNote['tuning'],
  { output, interrupt }: CommandContext,
): Promise<Pick<RunNote, 'tuning'>> {
  let tuning = resumed
  const store = {
    get: async (key: string) => tuning?.[key],
    set: async (key: string, measured: Tuning) => void (tuning = { [key]: measured }),
  }
  const tell = (done: number, total: number): void =>
    output.progress({ stage: 'Measuring the graphics card', done, total, unit: 'items' })
  await tuneOnce(store, { signal: interrupt.signal, onProgress: tell })
  output.endBar()
  return tuning ? { tuning } : {}
}

/** Reads a model onto the device, its weights held as a job says. */
export async function loadModelFolder(
  folder: ModelFolder,
  { output, interrupt }: CommandContext,
  quantization: Job['quantization'] = 'none',
): Promise<Model> {
  const model = await loadModel(folder.source, {
    id: folder.id,
    name: folder.name,
    quantization,
    onProgress: (progress) => output.progress(progress),
    signal: interrupt.signal,
  })
  output.endBar()
  return model
}

/** How the base weights are held: as the flag says, else as in the training of the adapter, where its folder tells. */
export async function quantizationFor({ given, options, output }: CommandContext): Promise<Job['quantization']> {
  if (given.quantization !== undefined || options.adapter === undefined) return completeJob(given).quantization
  const quantization = (await readTraining(options.adapter))?.job.quantization ?? 'none'
  if (quantization !== 'none') output.note(`Base weights in ${quantization}, as in the adapter's training.`)
  return quantization
}

/** Reads an adapter's folder or zip onto a model; null without one. */
export async function loadAdapterFolder(model: Model, folder: string | undefined): Promise<Trainable | null> {
  return folder === undefined ? null : loadTrainable(model, await openAdapter(folder))
}
