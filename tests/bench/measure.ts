/**
 * Clocks and counters of the benches: what a device was asked for, and how long it took, turn by turn among rivals so that a busy
 * machine slows all alike. Refuses to judge.
 */
import { tf } from '../../src/engine/tf'

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

/** What all WebGPU devices of this page or process were asked for, whoever asked. */
export interface Counts {
  /** Bytes of buffers that exist, and the most that ever did. */
  held: number
  peak: number
  dispatches: number
}

/** Counts buffers and dispatches from now on; call it before any device is opened. All zeros where there is no WebGPU. */
export function countWork(): Counts {
  const counts: Counts = { held: 0, peak: 0, dispatches: 0 }
  if (typeof GPUDevice === 'undefined') return counts
  const [device, buffer, pass] = [GPUDevice.prototype, GPUBuffer.prototype, GPUComputePassEncoder.prototype]
  const { createBuffer } = device
  const { destroy } = buffer
  const { dispatchWorkgroups } = pass
  const sizes = new WeakMap<GPUBuffer, number>()
  device.createBuffer = function (descriptor) {
    const made = createBuffer.call(this, descriptor)
    sizes.set(made, descriptor.size)
    counts.held += descriptor.size
    counts.peak = Math.max(counts.peak, counts.held)
    return made
  }
  buffer.destroy = function () {
    counts.held -= sizes.get(this) ?? 0
    sizes.delete(this)
    return destroy.call(this)
  }
  pass.dispatchWorkgroups = function (...groups) {
    counts.dispatches++
    return dispatchWorkgroups.apply(this, groups)
  }
  return counts
}

/** One way to do the work that rivals are compared on. */
export interface Rival {
  readonly name: string
  /** Starts the work once. */
  run(): void
  /** Resolves when all started work is done, and frees its results. */
  wait(): Promise<void>
  dispose(): void
}

/** Waits until TensorFlow.js's device has done all of its work. */
export async function deviceDone(): Promise<void> {
  if (tf.getBackend() !== 'webgpu') return
  const backend = tf.backend() as unknown as { submitQueue(): void; queue: GPUQueue; commandEncoder: unknown }
  if (backend.commandEncoder) (backend as unknown as { endComputePassEncoder(): void }).endComputePassEncoder()
  if (backend.commandEncoder) backend.submitQueue()
  await backend.queue.onSubmittedWorkDone()
}

/** Work on TensorFlow.js's backend, whose results are dropped at once. */
export function ownRival(name: string, work: () => tf.Tensor | tf.Tensor[]): Rival {
  return {
    name,
    run: () => tf.tidy(() => void work()),
    wait: deviceDone,
    dispose: () => undefined,
  }
}

async function timed({ run, wait }: Rival, count: number): Promise<number> {
  const started = performance.now()
  for (let i = 0; i < count; i++) run()
  await wait()
  return performance.now() - started
}

/**
 * Median ms of one run of each rival. Each turn lasts about `turnMs` a rival; no more than `most` runs are started before a wait.
 */
export async function race(
  rivals: readonly Rival[],
  { turns = 5, turnMs = 150, most = 64 } = {},
): Promise<Record<string, number>> {
  const counts: number[] = []
  for (const rival of rivals) {
    await timed(rival, 1) // compiles
    const one = Math.max(await timed(rival, 1), 0.01)
    counts.push(Math.max(1, Math.min(most, Math.round(turnMs / one))))
  }
  const times = rivals.map((): number[] => [])
  for (let turn = 0; turn < turns; turn++)
    for (const [i, rival] of rivals.entries()) times[i]!.push((await timed(rival, counts[i]!)) / counts[i]!)
  return Object.fromEntries(rivals.map(({ name }, i) => [name, median(times[i]!)]))
}

/** Exponent of growth of y with x: the slope of a line through their logarithms by least squares. */
export function growth(points: readonly (readonly [x: number, y: number])[]): number {
  const logs = points.map(([x, y]) => [Math.log(x), Math.log(y)] as const)
  const mean = (at: 0 | 1): number => logs.reduce((sum, point) => sum + point[at], 0) / logs.length
  const [mx, my] = [mean(0), mean(1)]
  const product = logs.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0)
  return product / logs.reduce((sum, [x]) => sum + (x - mx) ** 2, 0)
}
