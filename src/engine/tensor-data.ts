/** Device tensors to plain bytes and back. Refuses any type but f32 and int32: adapters and moments have no other. */
import { CodedError } from '../shared/errors'
import type { TensorData } from '../shared/records'
import { tf } from './tf'

/** The safetensors name of a tensor's type. */
const typeOf = (tensor: tf.Tensor): 'F32' | 'I32' => (tensor.dtype === 'int32' ? 'I32' : 'F32')

/** The values of a tensor as bytes of their own; forces a sync with the device. */
export async function readTensor(tensor: tf.Tensor): Promise<TensorData> {
  const values = (await tensor.data()) as Float32Array | Int32Array
  return { dtype: typeOf(tensor), shape: [...tensor.shape], bytes: new Uint8Array(values.slice().buffer) }
}

/** The values of f32 bytes, which need not be aligned. */
export function floatsOf(data: TensorData): Float32Array {
  return new Float32Array(data.bytes.slice().buffer)
}

/** Puts the tensor called `name` into a variable. Throws CodedError `checkpoint.mismatch` where it is missing or misshapen. */
export function writeVariable(variable: tf.Variable, from: Readonly<Record<string, TensorData>>, name: string): void {
  const data = from[name]
  if (!data || data.dtype !== typeOf(variable) || data.shape.join() !== variable.shape.join())
    throw new CodedError(
      'checkpoint.mismatch',
      `The checkpoint does not belong to this job: ${name} is not as expected.`,
      {
        where: name,
        fix: 'Start the run again; its settings are kept.',
      },
    )
  const { buffer } = data.bytes.slice()
  tf.tidy(() => {
    if (variable.dtype === 'int32') variable.assign(tf.tensor(new Int32Array(buffer), variable.shape, 'int32'))
    else variable.assign(tf.tensor(new Float32Array(buffer), variable.shape))
  })
}
