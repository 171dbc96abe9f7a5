/**
 * Counts what is held: on WebGPU every buffer that was created and not destroyed, on wasm every block of memory and every packed copy
 * that the backend's products keep of their right factor. Refuses to estimate.
 */
import { tf } from '../../src/engine/tf'

/** What is held above what was held when the counting began. */
export interface Held {
  bytes: number
  /** Buffers, or blocks of memory. */
  blocks: number
  /** The most bytes so far. */
  peak: number
}

interface Measured<T> {
  result: T
  /** Above what was held before. */
  peak: number
}

/**
 * Runs `work` on the current backend and counts. On WebGPU programs are bound and encoded but not run, which changes no allocation
 * and lets a processor stand in for a graphics card.
 */
export async function measurePeak<T>(work: () => Promise<T>): Promise<Measured<T>> {
  const { held, stop } = countHeld()
  const run = tf.getBackend() === 'webgpu' ? withoutDispatches(webgpuDevice(), work) : work()
  try {
    return { result: await run, peak: held.peak }
  } finally {
    stop()
  }
}

/** Counts on the current backend until `stop` is called. */
export function countHeld(): { held: Readonly<Held>; stop: () => void } {
  const held: Held = { bytes: 0, blocks: 0, peak: 0 }
  const add = (bytes: number, blocks: number): void => {
    held.bytes += bytes
    held.blocks += blocks
    held.peak = Math.max(held.peak, held.bytes)
  }
  return { held, stop: tf.getBackend() === 'webgpu' ? onGPU(webgpuDevice(), add) : onWasm(add) }
}

type Add = (bytes: number, blocks: number) => void

function webgpuDevice(): GPUDevice {
  return (tf.backend() as unknown as { device: GPUDevice }).device
}

function onGPU(device: GPUDevice, add: Add): () => void {
  const create = device.createBuffer
  device.createBuffer = (descriptor) => {
    const buffer = create.call(device, descriptor)
    add(descriptor.size, 1)
    const destroy = buffer.destroy
    buffer.destroy = () => {
      add(-descriptor.size, -1)
      buffer.destroy = destroy
      return destroy.call(buffer)
    }
    return buffer
  }
  return () => void (device.createBuffer = create)
}

async function withoutDispatches<T>(device: GPUDevice, work: () => Promise<T>): Promise<T> {
  const encode = device.createCommandEncoder
  device.createCommandEncoder = (descriptor) => {
    const encoder = encode.call(device, descriptor)
    const begin = encoder.beginComputePass.bind(encoder)
    encoder.beginComputePass = (options) => Object.assign(begin(options), { dispatchWorkgroups: () => undefined })
    return encoder
  }
  try {
    return await work()
  } finally {
    device.createCommandEncoder = encode
  }
}

interface Wasm {
  wasm: { tfjs: { disposeData(id: number): void }; _malloc(size: number): number; _free(at: number): void }
  dataIdMap: { get(id: object): { id: number } }
}

function onWasm(add: Add): () => void {
  const backend = tf.backend() as unknown as Wasm
  tf.fill([1], 1).dispose() // the module puts other functions in place of these at their first call
  const { wasm } = backend
  const { tfjs } = wasm
  const original = { malloc: wasm._malloc, free: wasm._free, forget: tfjs.disposeData }
  const blocks = new Map<number, number>()
  const copies = new Map<number, number>()
  const forget = (from: Map<number, number>, key: number): void => {
    const size = from.get(key)
    if (size !== undefined) add(-size, -1)
    from.delete(key)
  }
  wasm._malloc = (size) => {
    const at = original.malloc(size)
    blocks.set(at >>> 0, size)
    add(size, 1)
    return at
  }
  wasm._free = (at) => {
    forget(blocks, at >>> 0)
    original.free(at)
  }
  tfjs.disposeData = (id) => {
    forget(copies, id)
    original.forget.call(tfjs, id)
  }
  const kernel = tf.getKernel('BatchMatMul', 'wasm')
  tf.unregisterKernel('BatchMatMul', 'wasm')
  tf.registerKernel({
    ...kernel,
    kernelFunc: (given) => {
      const { b } = given.inputs as { b: tf.TensorInfo }
      const { id } = backend.dataIdMap.get(b.dataId)
      if (b.shape.length === 2 || b.shape[0] === 1) {
        forget(copies, id)
        const size = 4 * b.shape.reduce((product, length) => product * length, 1)
        copies.set(id, size)
        add(size, 1)
      }
      return kernel.kernelFunc(given)
    },
  })
  return () => {
    Object.assign(wasm, { _malloc: original.malloc, _free: original.free })
    tfjs.disposeData = original.forget
    tf.unregisterKernel('BatchMatMul', 'wasm')
    tf.registerKernel(kernel)
  }
}
