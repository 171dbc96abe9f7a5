/**
 * The one device and the models on it: opened when needed, kept while used, worked on by one at a time.
 * Refuses to change the device under a run.
 */
import simdWasm from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url'
import threadedScript from '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-threaded-simd.js?url'
import threadedWasm from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm?url'
import plainWasm from '@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url'
import {
  inspectModel,
  loadModel,
  openDevice,
  threadsFor,
  type Device,
  type Model,
  type ThreadHost,
} from '../src/engine'
import { fingerprintModel } from '../src/hub'
import { CodedError } from '../src/shared/errors'
import type { OnProgress } from '../src/shared/files'
import type { Job } from '../src/shared/job'
import type { DeviceReport, ModelId, ModelRecord } from '../src/shared/records'
import * as storage from '../src/storage'
import { bundledModel, bundledModels, isBundled, modelSource, Once } from './sources'
import { recallDevice } from './tuning'

type Choice = 'auto' | 'webgpu' | 'wasm'

/** The names that tfjs asks for, and where the build put them: beside the page under any base path. */
const WASM_FILES = {
  'tfjs-backend-wasm.wasm': plainWasm,
  'tfjs-backend-wasm-simd.wasm': simdWasm,
  'tfjs-backend-wasm-threaded-simd.wasm': threadedWasm,
}

/** Threads where the browser lets this page share memory between them: see the headers of vite.config.ts and public/sw.js. */
function threads(): ThreadHost | undefined {
  if (!globalThis.crossOriginIsolated) return undefined
  return {
    count: threadsFor(navigator.hardwareConcurrency),
    binary: async () => (await fetch(threadedWasm)).arrayBuffer(),
    script: new URL(threadedScript, location.href).href,
    worker: (source) => URL.createObjectURL(new Blob([source], { type: 'text/javascript' })),
  }
}

type Quantization = Job['quantization']

interface Shelved {
  id: ModelId
  model: Promise<Model>
  uses: number
}

export class Workshop {
  #opened: { choice: Choice; device: Promise<Device> } | null = null
  /** By {@link shelfKey}. */
  readonly #shelf = new Map<string, Shelved>()
  readonly #records = new Once<ModelRecord>()
  readonly #fingerprints = new Once<string>()
  #last: Promise<unknown> = Promise.resolve()

  /**
   * Opens the device of a choice, unless it is open already; models of another device are dropped.
   * @throws CodedError `usage` where a model of the present device is at work; `device.*`.
   */
  async device(choice: Choice): Promise<DeviceReport> {
    const opened = this.#opened
    if (opened) {
      const { report } = await opened.device
      if (choice === opened.choice || choice === report.backend) return report
      this.#refuseWhileBusy()
      await this.#close()
    }
    const device = this.alone(async () => {
      const made = await openDevice(choice, { wasmPath: WASM_FILES, threads: threads() })
      await recallDevice()
      return made
    })
    const entry = (this.#opened = { choice, device })
    const forget = () => {
      if (this.#opened === entry) this.#opened = null
    }
    device.then(({ lost }) => void lost.then(() => (forget(), this.#dropModels())), forget)
    return (await device).report
  }

  /** The device that is open, else the one that `auto` gives. */
  async anyDevice(): Promise<DeviceReport> {
    return this.#opened ? (await this.#opened.device).report : this.device('auto')
  }

  /** Runs work with a model, which is loaded unless it is there in that quantisation; idle models make room first. */
  async withModel<T>(
    id: ModelId,
    onProgress: OnProgress,
    work: (model: Model) => Promise<T>,
    quantization: Quantization = 'none',
  ): Promise<T> {
    await this.anyDevice()
    const kept = this.#shelf.get(shelfKey(id, quantization))
    const shelved = kept ?? this.#load(id, quantization, onProgress)
    shelved.uses++
    try {
      return await work(await shelved.model)
    } finally {
      shelved.uses--
    }
  }

  /** What is known of a model without loading it. @throws CodedError `file.missing`, `model.*` */
  async record(id: ModelId): Promise<ModelRecord> {
    if (isBundled(id)) {
      const { name, bytes, description } = await bundledModel(id)
      return this.#records.get(id, async () => {
        const record = await inspectModel(await modelSource(id), id, name)
        return { ...record, bytes, description }
      })
    }
    const record = await storage.getModel(id)
    if (record) return record
    throw new CodedError('file.missing', 'This model is not stored here.', {
      where: id,
      fix: 'Add its folder under Model, or choose another model.',
    })
  }

  /** What a model's files are; undefined for those whose id stands for one set of files for good. */
  async fingerprint(id: ModelId): Promise<string | undefined> {
    if (!isBundled(id)) return undefined
    return this.#fingerprints.get(id, async () => fingerprintModel(await modelSource(id)))
  }

  /** Every model at hand; bundled ones first. */
  async records(): Promise<ModelRecord[]> {
    const own = await Promise.allSettled((await bundledModels()).map(({ id }) => this.record(`bundled:${id}`)))
    const all = [
      ...own.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : [])),
      ...(await storage.listModels()),
    ]
    // One that was not published whole must not hide the others.
    const broken = own.find((one) => one.status === 'rejected')
    if (all.length === 0 && broken) throw broken.reason
    return all
  }

  /** Takes a model off the device. @throws CodedError `usage` while it is at work. */
  async remove(id: ModelId): Promise<void> {
    const found = [...this.#shelf].filter(([, shelved]) => shelved.id === id)
    if (found.some(([, { uses }]) => uses > 0)) throw busy()
    for (const [key] of found) this.#shelf.delete(key)
    await Promise.all(found.map(([, shelved]) => dispose(shelved)))
  }

  /**
   * Runs work on the device while nothing else does; waiting work takes turns. Training takes a turn a step and
   * generation one a token, so both go on at once and neither meets the other's error scopes half-way.
   */
  alone<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => {})
    return turn
  }

  #load(id: ModelId, quantization: Quantization, onProgress: OnProgress): Shelved {
    const key = shelfKey(id, quantization)
    const model = this.alone(async () => {
      for (const [other, shelved] of this.#shelf) {
        if (other === key || shelved.uses > 0) continue
        this.#shelf.delete(other)
        await dispose(shelved)
      }
      return loadModel(await modelSource(id), { id, name: (await this.record(id)).name, quantization, onProgress })
    })
    const shelved: Shelved = { id, model, uses: 0 }
    this.#shelf.set(key, shelved)
    model.catch(() => {
      if (this.#shelf.get(key) === shelved) this.#shelf.delete(key)
    })
    return shelved
  }

  async #close(): Promise<void> {
    const opened = this.#opened
    this.#opened = null
    await this.alone(async () => {
      await this.#dropModels()
      ;(await opened?.device)?.dispose()
    })
  }

  async #dropModels(): Promise<void> {
    const all = [...this.#shelf.values()]
    this.#shelf.clear()
    await Promise.all(all.map(dispose))
  }

  #refuseWhileBusy(): void {
    if ([...this.#shelf.values()].some(({ uses }) => uses > 0)) throw busy()
  }
}

function shelfKey(id: ModelId, quantization: Quantization): string {
  return `${quantization} ${id}`
}

async function dispose({ model }: Shelved): Promise<void> {
  // Tensors of a lost device may not be there to be freed.
  await model.then((loaded) => loaded.dispose()).catch(() => {})
}

function busy(): CodedError {
  return new CodedError('usage', 'A model is at work on the device.', { fix: 'Pause the run first.' })
}
