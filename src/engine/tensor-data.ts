/** Device tensors to plain bytes and back. Refuses any type but f32: adapters and moments have no other. */
import { CodedError } from '../shared/errors'
import type { TensorData } from '../shared/records'
import { tf } from './tf'

/** The values of an f32 tensor as bytes of their own; forces a sync with the device. */
export async function readTensor(tensor: tf.Tensor): Promise<TensorData> {
  const values = (await tensor.data()) as Float32Array
  return { dtype: 'F32', shape: [...tensor.shape], bytes: new Uint8Array(values.slice().buffer) }
}

/** The values of f32 bytes, which need not be aligned. */
export function floatsOf(data: TensorData): Float32Array {
  return new Float32Array(data.bytes.slice().buffer)
}

/** Puts the tensor called `name` into a variable. Throws CodedError `checkpoint.mismatch` where it is missing or misshapen. */
export function writeVariable(variable: tf.Variable, from: Readonly<Record<string, TensorData>>, name: string): void {
  const data = from[name]
  if (!data || data.dtype !== 'F32' || data.shape.join() !== variable.shape.join())
    throw new CodedError(
      'checkpoint.mismatch',
      `The checkpoint does not belong to this job: ${name} is not as expected.`,
      {
        where: name,
        fix: 'Start the run again; its settings are kept.',
      },
    )
  tf.tidy(() => variable.assign(tf.tensor(floatsOf(data), variable.shape)))
}
