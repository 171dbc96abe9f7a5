/** Whether stored tensors fit a model, and them on the device. Refuses them all together, naming every one that does not. */
import { CodedError } from '../../shared/errors'
import type { TensorData } from '../../shared/records'
import { toFloat32 } from '../formats/safetensors'
import { tf } from '../tf'

type Stored = Readonly<Record<string, TensorData>>

/** What is wrong with a tensor that should be there in this shape; nothing where it is fine. */
export function misfit(tensors: Stored, key: string, shape: readonly number[]): string[] {
  const tensor = tensors[key]
  if (!tensor) return [`${key} is missing`]
  if (tensor.shape.join() !== shape.join())
    return [`${key} is [${tensor.shape.join(', ')}] and should be [${shape.join(', ')}]`]
  return toFloat32(tensor).some((value) => !Number.isFinite(value)) ? [`${key} contains NaN or Inf`] : []
}

/** Keys that nothing in the model asks for. */
export function homeless(tensors: Stored, wanted: ReadonlySet<string>): string[] {
  return Object.keys(tensors).flatMap((key) => (wanted.has(key) ? [] : [`${key} has no layer in this model`]))
}

/** @throws CodedError `adapter.mismatch` listing the problems, where there are any. */
export function refuseMisfits(problems: readonly string[], baseName: string | null): void {
  if (problems.length === 0) return
  throw new CodedError('adapter.mismatch', `The adapter does not fit this model: ${problems.join('; ')}.`, {
    where: 'adapter_model.safetensors',
    fix: `Use it with the model it was trained on${baseName ? ` (${baseName})` : ''}.`,
  })
}

/** Values that training moves. */
export function variableOf(values: Float32Array, shape: number[]): tf.Variable {
  return tf.tidy(() => tf.variable(tf.tensor(values, shape), false))
}

/** A stored tensor as {@link variableOf}. */
export function storedVariable(tensors: Stored, key: string, shape: number[]): tf.Variable {
  return variableOf(toFloat32(tensors[key] as TensorData).slice(), shape)
}
