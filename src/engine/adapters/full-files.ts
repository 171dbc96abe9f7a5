/**
 * Whole weights as files have them and as they are trained: transposed, with a bias as a column more. Refuses tensors that a model does
 * not have.
 */
import { CodedError } from '../../shared/errors'
import type { TensorData } from '../../shared/records'
import { fromFloat32, toFloat32 } from '../formats/safetensors'
import { transpose } from '../models/weights'
import type { NetworkWeight } from '../nn/network'
import { FrozenMatrix } from '../ops'
import { tf } from '../tf'
import { misfit } from './fit'

type Tensors = Readonly<Record<string, TensorData>>

/** Shapes in files, by name. */
export function fileShapes({ name, value, transposed, bias }: NetworkWeight): [name: string, shape: number[]][] {
  if (!(value instanceof FrozenMatrix)) return [[name, [...value.shape]]]
  if (bias !== undefined) return [[name, [value.out, value.in - 1]], [bias, [value.out]]] // prettier-ignore
  return [[name, transposed ? [value.in, value.out] : [value.out, value.in]]]
}

/** A weight's values as files have them. */
export function fileTensors(weight: NetworkWeight, held: TensorData): Tensors {
  const { name, transposed, bias } = weight
  const values = toFloat32(held)
  const [rows = 0, columns = 0] = held.shape
  if (transposed) return { [name]: fromFloat32(transpose(values, rows, columns), [columns, rows], 'F32') }
  if (bias === undefined) return { [name]: held }
  const matrix = new Float32Array(rows * (columns - 1))
  const column = new Float32Array(rows)
  for (let r = 0; r < rows; r++) {
    matrix.set(values.subarray(r * columns, (r + 1) * columns - 1), r * (columns - 1))
    column[r] = values[(r + 1) * columns - 1] as number
  }
  return { [name]: fromFloat32(matrix, [rows, columns - 1], 'F32'), [bias]: fromFloat32(column, [rows], 'F32') }
}

/** A weight's values as they are computed with, from its tensors in files; the caller disposes them. */
export function fileValues(weight: NetworkWeight, tensors: Tensors): tf.Tensor {
  const { name, transposed, bias } = weight
  const values = toFloat32(tensors[name] as TensorData)
  const [rows = 0, columns = 0] = (tensors[name] as TensorData).shape
  if (transposed) return tf.tensor(transpose(values, rows, columns), [columns, rows])
  if (bias === undefined) return tf.tensor(values, tensors[name]!.shape)
  const column = tf.tensor(toFloat32(tensors[bias] as TensorData), [rows, 1])
  return tf.tidy(() => tf.concat([tf.tensor(values, [rows, columns]), column], 1))
}

/** @throws CodedError `adapter.mismatch` listing every tensor without a place, misshapen, not finite, or without its partner. */
export function checkStored(weights: readonly NetworkWeight[], tensors: Tensors): void {
  const shapes = new Map(weights.flatMap(fileShapes))
  const problems = Object.keys(tensors).flatMap((name) => {
    const shape = shapes.get(name)
    return shape ? misfit(tensors, name, shape) : [`${name} is not in this model`]
  })
  for (const weight of weights) {
    const names = fileShapes(weight).map(([name]) => name)
    const missing = names.filter((name) => !(name in tensors))
    if (missing.length > 0 && missing.length < names.length) problems.push(`${missing.join(', ')} is missing`)
  }
  if (Object.keys(tensors).length === 0) problems.push('there are no tensors')
  if (problems.length === 0) return
  throw new CodedError('adapter.mismatch', `The trained weights do not fit this model: ${problems.join('; ')}.`, {
    where: 'model.safetensors',
    fix: 'Use them with the model that they were trained from.',
  })
}
