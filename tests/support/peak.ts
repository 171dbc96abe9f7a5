/**
 * The most bytes that a piece of work holds: on WebGPU every buffer that was created and not destroyed, on wasm every block of
 * memory and every packed copy that the backend's products keep of their right factor. Refuses to estimate: all of it is counted. On WebGPU
 * programs are bound and encoded but not run, which changes no allocation and lets a processor stand in for a graphics card.
 */
import { tf } from '../../src/engine/tf'

interface Measured<T> {
  result: T
  /** Above what was held before. */
  peak: number
}

/** Runs `work` on the current backend and counts. */
export async function measurePeak<T>(work: () => Promise<T>): Promise<Measured<T>> {
  return tf.getBackend() === 'webgpu' ? onGPU(work) : onWasm(work)
}

async function onGPU<T>(work: () => Promise<T>): Promise<Measured<T>> {
  const { device } = tf.backend() as unknown as { device: GPUDevice }
  let [held, peak] = [0, 0]
  const create = device.createBuffer
  device.createBuffer = (descriptor) => {
    const buffer = create.call(device, descriptor)
    held += descriptor.size
    peak = Math.max(peak, held)
    const destroy = buffer.destroy
    buffer.destroy = () => {
      held -= descriptor.size
      buffer.destroy = destroy
      return destroy.call(buffer)
    }
    return buffer
  }
  const encode = device.createCommandEncoder
  device.createCommandEncoder = (descriptor) => {
    const encoder = encode.call(device, descriptor)
    const begin = encoder.beginComputePass.bind(encoder)
    encoder.beginComputePass = (options) => Object.assign(begin(options), { dispatchWorkgroups: () => undefined })
    return encoder
  }
  try {
    return { result: await work(), peak }
  } finally {
    Object.assign(device, { createBuffer: create, createCommandEncoder: encode })
  }
}

interface Wasm {
  wasm: { tfjs: { disposeData(id: number): void }; _malloc(size: number): number; _free(at: number): void }
  dataIdMap: { get(id: object): { id: number } }
}

async function onWasm<T>(work: () => Promise<T>): Promise<Measured<T>> {
  const backend = tf.backend() as unknown as Wasm
  tf.fill([1], 1).dispose() // the module puts other functions in place of these at their first call
  const { wasm } = backend
  const { tfjs } = wasm
  const original = { malloc: wasm._malloc, free: wasm._free, forget: tfjs.disposeData }
  const blocks = new Map<number, number>()
  const copies = new Map<number, number>()
  let [held, peak] = [0, 0]
  const add = (bytes: number): void => {
    held += bytes
    peak = Math.max(peak, held)
  }
  wasm._malloc = (size) => {
    const at = original.malloc(size)
    blocks.set(at >>> 0, size)
    add(size)
    return at
  }
  wasm._free = (at) => {
    held -= blocks.get(at >>> 0) ?? 0
    blocks.delete(at >>> 0)
    original.free(at)
  }
  tfjs.disposeData = (id) => {
    held -= copies.get(id) ?? 0
    copies.delete(id)
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
        const size = 4 * b.shape.reduce((product, length) => product * length, 1)
        const more = size - (copies.get(id) ?? 0)
        copies.set(id, size)
        add(more)
      }
      return kernel.kernelFunc(given)
    },
  })
  try {
    return { result: await work(), peak }
  } finally {
    Object.assign(wasm, { _malloc: original.malloc, _free: original.free })
    tfjs.disposeData = original.forget
    tf.unregisterKernel('BatchMatMul', 'wasm')
    tf.registerKernel(kernel)
  }
}
