/** Device tensors to plain bytes and back. Refuses any type but f32 and int32: adapters and moments have no other. */
import { CodedError } from '../shared/errors'
import type { TensorData } from '../shared/records'
import type { FlatPart } from './ops/flat'
import { storeParts } from './ops/store'
import { tf } from './tf'

/** The safetensors name of a tensor's type. */
const typeOf = (tensor: tf.Tensor): 'F32' | 'I32' => (tensor.dtype === 'int32' ? 'I32' : 'F32')

/** The values of a tensor as bytes of their own; forces a sync with the device. */
export async function readTensor(tensor: tf.Tensor): Promise<TensorData> {
  const values = (await tensor.data()) as Float32Array | Int32Array
  return { dtype: typeOf(tensor), shape: [...tensor.shape], bytes: new Uint8Array(values.slice().buffer) }
}

/** Variables under their names. */
export async function readVariables(
  named: readonly { readonly name: string; readonly variable: tf.Variable }[],
): Promise<Record<string, TensorData>> {
  const tensors: Record<string, TensorData> = {}
  for (const { name, variable } of named) tensors[name] = await readTensor(variable)
  return tensors
}

/** The values of f32 bytes, which need not be aligned. */
export function floatsOf(data: TensorData): Float32Array {
  return new Float32Array(data.bytes.slice().buffer)
}

/** The tensor called `name`. Throws CodedError `checkpoint.mismatch` where it is missing or misshapen. */
function tensorOf(
  from: Readonly<Record<string, TensorData>>,
  name: string,
  dtype: 'F32' | 'I32',
  shape: readonly number[],
): TensorData {
  const data = from[name]
  if (data?.dtype === dtype && data.shape.join() === shape.join()) return data
  throw new CodedError(
    'checkpoint.mismatch',
    `The checkpoint does not belong to this job: ${name} is not as expected.`,
    {
      where: name,
      fix: 'Start the run again; its settings are kept.',
    },
  )
}

/** Puts the tensor called `name` into a variable. Throws CodedError `checkpoint.mismatch` where it is missing or misshapen. */
export function writeVariable(variable: tf.Variable, from: Readonly<Record<string, TensorData>>, name: string): void {
  const { buffer } = tensorOf(from, name, typeOf(variable), variable.shape).bytes.slice()
  tf.tidy(() => {
    if (variable.dtype === 'int32') variable.assign(tf.tensor(new Int32Array(buffer), variable.shape, 'int32'))
    else variable.assign(tf.tensor(new Float32Array(buffer), variable.shape))
  })
}

/** The same for a part of a buffer that holds a tensor of this shape. */
export function writePart(
  part: FlatPart,
  shape: readonly number[],
  from: Readonly<Record<string, TensorData>>,
  name: string,
): void {
  const values = floatsOf(tensorOf(from, name, 'F32', shape))
  tf.tidy(() => storeParts([{ target: part, source: tf.tensor1d(values), add: false }]))
}
