/**
 * Direct access to tensors in the wasm backend's memory, for passes that its kernels would need many calls for.
 * Refuses to keep views: memory may grow at any allocation, which leaves older views empty.
 */
import { tf } from '../tf'

/** The parts of tfjs-backend-wasm 4.22.0 that this file reaches into. */
interface Backend {
  makeOutput(shape: number[], dtype: tf.DataType): tf.TensorInfo
  typedArrayFromHeap(tensor: tf.TensorInfo): Float32Array
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
export function views(...tensors: tf.Tensor[]): Float32Array[] {
  return tensors.map((tensor) => backend().typedArrayFromHeap(tensor))
}

/** A number that may lie on the device; reading it is free on this backend. */
export function hostNumber(value: number | tf.Scalar): number {
  return typeof value === 'number' ? value : value.dataSync()[0]!
}
