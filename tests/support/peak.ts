/**
 * The most bytes that a piece of work holds: on WebGPU every buffer that was created and not destroyed, on wasm every tensor and
 * every packed copy that the backend's products keep of their right factor. Refuses to estimate: all of it is counted.
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
  try {
    return { result: await work(), peak }
  } finally {
    device.createBuffer = create
  }
}

interface Wasm {
  wasm: { tfjs: { disposeData(id: number): void } }
  dataIdMap: { get(id: object): { id: number } }
}

async function onWasm<T>(work: () => Promise<T>): Promise<Measured<T>> {
  const backend = tf.backend() as unknown as Wasm
  const { state } = tf.engine()
  const copies = new Map<number, number>()
  let [tensors, packed, peak] = [state.numBytes, 0, 0]
  const before = tensors
  const note = (): void => {
    peak = Math.max(peak, tensors + packed - before)
  }
  Object.defineProperty(state, 'numBytes', {
    configurable: true,
    get: () => tensors,
    set: (value: number) => {
      tensors = value
      note()
    },
  })
  const { tfjs } = backend.wasm
  const forget = tfjs.disposeData
  tfjs.disposeData = (id) => {
    packed -= copies.get(id) ?? 0
    copies.delete(id)
    forget.call(tfjs, id)
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
        packed += size - (copies.get(id) ?? 0)
        copies.set(id, size)
        note()
      }
      return kernel.kernelFunc(given)
    },
  })
  try {
    return { result: await work(), peak }
  } finally {
    Object.defineProperty(state, 'numBytes', { configurable: true, writable: true, value: tensors })
    tfjs.disposeData = forget
    tf.unregisterKernel('BatchMatMul', 'wasm')
    tf.registerKernel(kernel)
  }
}
