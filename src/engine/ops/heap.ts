/**
 * Direct access to tensors in the wasm backend's memory, for passes that its kernels would need many calls for.
 * Refuses to keep views: memory may grow at any allocation, which leaves older views empty.
 */
import { tf } from '../tf'

/** The parts of tfjs-backend-wasm 4.22.0 that this file reaches into. */
interface Backend {
  wasm: { tfjs: { disposeData(id: number): void } }
  dataIdMap: { get(id: object): { id: number; memoryOffset: number }; delete(id: object): void }
  makeOutput(shape: number[], dtype: tf.DataType, memoryOffset?: number): tf.TensorInfo
  disposeData(id: object): void
  typedArrayFromHeap(tensor: tf.TensorInfo): Float32Array
}

/** The same whole numbers on both sides: the host's are used where tensors lie in its memory, the device's elsewhere. */
export interface RowNumbers {
  readonly host: Int32Array
  readonly device: tf.Tensor1D
}

/** True where tensors lie in wasm memory. */
export function onHeap(): boolean {
  return tf.getBackend() === 'wasm'
}

function backend(): Backend {
  return tf.backend() as unknown as Backend
}

/** A new tensor with undefined values, to be filled through {@link views}; tidy and the tape see it. */
export function heapTensor<R extends tf.Rank>(shape: tf.ShapeMap[R]): tf.Tensor<R> {
  return tf.engine().makeTensorFromTensorInfo(backend().makeOutput(shape as number[], 'float32')) as tf.Tensor<R>
}

/** Views of f32 tensors. Take them after the last allocation, and drop them before the next. */
export function views(...tensors: tf.TensorInfo[]): Float32Array[] {
  return tensors.map((tensor) => backend().typedArrayFromHeap(tensor))
}

/** Rows at int32 `ids` `[n]` of a `[rows, columns]` matrix, whole rows at a time: the backend's own gather goes element by element. */
export function heapRows(matrix: tf.Tensor2D, ids: tf.Tensor1D): tf.Tensor2D {
  const [rows, columns] = matrix.shape
  const output = heapTensor<tf.Rank.R2>([ids.shape[0], columns])
  const [wanted, from, to] = views(ids, matrix, output) as [Float32Array, Float32Array, Float32Array]
  for (let i = 0; i < wanted.length; i++) {
    const row = wanted[i]!
    if (row < 0 || row >= rows) throw new Error(`row ${row} of a matrix of ${rows}`)
    to.set(from.subarray(row * columns, (row + 1) * columns), i * columns)
  }
  return output
}

/** A number that may lie on the device; reading it is free on this backend. */
export function hostNumber(value: number | tf.Scalar): number {
  return typeof value === 'number' ? value : value.dataSync()[0]!
}

/** A `[rows, columns]` window onto contiguous memory of `tensor`, from element `offset` on; nothing is copied. Give it back with {@link endWindow}. */
function openWindow(tensor: tf.TensorInfo, offset: number, rows: number, columns: number): tf.TensorInfo {
  const { memoryOffset } = backend().dataIdMap.get(tensor.dataId)
  return backend().makeOutput([rows, columns], 'float32', memoryOffset + 4 * offset)
}

/** Forgets a window and what the backend's products cached for it; the memory stays its owner's. */
function endWindow(window: tf.TensorInfo): void {
  const { id } = backend().dataIdMap.get(window.dataId)
  backend().wasm.tfjs.disposeData(id)
  backend().dataIdMap.delete(window.dataId)
}

/** Frees what {@link multiplyWindows} or {@link runKernel} returned. */
export function free(...results: tf.TensorInfo[]): void {
  for (const result of results) backend().disposeData(result.dataId)
}

/** Runs a kernel of the backend without the engine around it; the result is the caller's to {@link free}. */
export function runKernel(name: string, inputs: tf.NamedTensorInfoMap, attrs: Record<string, unknown>): tf.TensorInfo {
  const { kernelFunc } = tf.getKernel(name, 'wasm')
  return kernelFunc({ inputs, backend: backend(), attrs: attrs as tf.NamedAttrMap }) as tf.TensorInfo
}

/** A matrix inside a tensor's memory. */
export interface Window {
  tensor: tf.TensorInfo
  /** First element. */
  offset: number
  rows: number
  columns: number
}

/** `[m, k] · [k, n]` of two windows; the result is the caller's to {@link free}. */
export function multiplyWindows(left: Window, right: Window): tf.TensorInfo {
  const a = openWindow(left.tensor, left.offset, left.rows, left.columns)
  const b = openWindow(right.tensor, right.offset, right.rows, right.columns)
  const product = runKernel('BatchMatMul', { a, b }, { transposeA: false, transposeB: false })
  endWindow(a)
  endWindow(b)
  return product
}

/** Writes a row-major `[rows, columns]` matrix transposed, in blocks that stay in the cache. */
export function transposeInto(from: Float32Array, rows: number, columns: number, to: Float32Array): void {
  const block = 32
  for (let r0 = 0; r0 < rows; r0 += block) {
    const r1 = Math.min(rows, r0 + block)
    for (let c0 = 0; c0 < columns; c0 += block) {
      const c1 = Math.min(columns, c0 + block)
      for (let c = c0; c < c1; c++) for (let r = r0; r < r1; r++) to[c * rows + r] = from[r * columns + c]!
    }
  }
}
