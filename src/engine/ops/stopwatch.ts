/**
 * How long the device takes for pieces of work: by its own clock where it has one, else by the host's. Refuses to work on anything else
 * meanwhile.
 */
import { tf } from '../tf'
import { gpuBackend, gpuDevice } from './gpu'
import { flush } from './recording'

export interface Stopwatch {
  /** ms of `runs` runs of the work, of which `atOnce` at most go to the device together. */
  time(work: () => void, runs: number, atOnce?: number): Promise<number>
  dispose(): void
}

/** Pairs of times that are read back at once. */
const MOST_PASSES = 64

/** A stopwatch for the present device; dispose it. */
export function stopwatch(): Stopwatch {
  const stamps = gpuDevice().features.has('timestamp-query') ? new Stamps(gpuDevice()) : null
  return {
    async time(work, runs, atOnce = runs) {
      const gpu = gpuBackend()
      const batch = tf.env().getNumber('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE')
      const size = Math.max(atOnce, Math.ceil(runs / MOST_PASSES))
      flush(gpu)
      await gpu.queue.onSubmittedWorkDone()
      const started = performance.now()
      let passes = 0
      tf.env().set('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE', Number.MAX_SAFE_INTEGER)
      try {
        for (let left = runs; left > 0; left -= size) {
          gpu.ensureCommandEncoderReady()
          gpu.computePassEncoder = gpu.commandEncoder!.beginComputePass(stamps?.descriptor(passes))
          for (let i = 0; i < Math.min(size, left); i++) work()
          flush(gpu)
          passes++
        }
      } finally {
        tf.env().set('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE', batch)
      }
      const own = await stamps?.read(passes)
      if (own !== undefined && own > 0) return own
      await gpu.queue.onSubmittedWorkDone()
      return performance.now() - started
    },
    dispose: () => stamps?.dispose(),
  }
}

/** The device's own times at the beginning and the end of passes. */
class Stamps {
  readonly #device: GPUDevice
  readonly #queries: GPUQuerySet
  readonly #resolved: GPUBuffer
  readonly #read: GPUBuffer

  constructor(device: GPUDevice) {
    const size = 16 * MOST_PASSES
    this.#device = device
    this.#queries = device.createQuerySet({ type: 'timestamp', count: 2 * MOST_PASSES })
    this.#resolved = device.createBuffer({ size, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC })
    this.#read = device.createBuffer({ size, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ })
  }

  descriptor(pass: number): GPUComputePassDescriptor {
    const [beginningOfPassWriteIndex, endOfPassWriteIndex] = [2 * pass, 2 * pass + 1]
    return { timestampWrites: { querySet: this.#queries, beginningOfPassWriteIndex, endOfPassWriteIndex } }
  }

  /** ms of so many passes together. */
  async read(passes: number): Promise<number> {
    const encoder = this.#device.createCommandEncoder()
    encoder.resolveQuerySet(this.#queries, 0, 2 * passes, this.#resolved, 0)
    encoder.copyBufferToBuffer(this.#resolved, 0, this.#read, 0, 16 * passes)
    this.#device.queue.submit([encoder.finish()])
    await this.#read.mapAsync(GPUMapMode.READ)
    const times = new BigUint64Array(this.#read.getMappedRange().slice(0, 16 * passes))
    this.#read.unmap()
    let nanoseconds = 0
    for (let pass = 0; pass < passes; pass++) nanoseconds += Number(times[2 * pass + 1]! - times[2 * pass]!)
    return nanoseconds / 1e6
  }

  dispose(): void {
    this.#queries.destroy()
    this.#resolved.destroy()
    this.#read.destroy()
  }
}
