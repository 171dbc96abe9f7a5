/** Adds up the partial sums of a product whose depth was cut into slices. Refuses anything but plain sums, a factor, a bias and a matrix to add. */
import type { tf } from '../tf'
import { dispatch, spread, widest, type Binding } from './gpu'
import { elementMain } from './reduce'

/**
 * y = scale · (sum of the slices) + bias + plus, row by row from row `writeFrom` of y on; always in the order of the slices.
 * @param sums `[slices, m, n]`, perhaps with more behind it.
 * @param into `[…, n]`, which has at least `writeFrom + m` rows.
 */
export function addSlices(
  sums: tf.Tensor,
  into: tf.Tensor2D,
  { m, n, slices, scale = 1, bias = null, plus = null, writeFrom = 0 }: {
    m: number
    n: number
    slices: number
    scale?: number | tf.Scalar
    bias?: tf.Tensor1D | null
    plus?: tf.Tensor | null
    writeFrom?: number
  }, // prettier-ignore
): void {
  const type = widest(n)
  const width = type === 'f32' ? 1 : 4
  const bindings: Record<string, Binding> = {
    y: { tensor: into, type, write: true },
    sums: { tensor: sums, type },
  }
  if (bias) bindings.bias = { tensor: bias, type }
  if (plus) bindings.plus = { tensor: plus, type }
  if (typeof scale !== 'number') bindings.scale = { tensor: scale, type: 'f32' }
  const size = (m * n) / width
  dispatch({
    key: 'gemm slices',
    bindings,
    uniforms: {
      size,
      slices,
      width: n / width,
      start: (writeFrom * n) / width,
      factor: typeof scale === 'number' ? scale : 1,
    },
    floats: ['factor'],
    workgroups: spread(Math.ceil(size / 64)),
    code: () =>
      elementMain(`var sum = sums[i];
    for (var z = 1u; z < u.slices; z++) { sum += sums[z * u.size + i]; }
    y[u.start + i] = u.factor${bindings.scale ? ' * scale[0]' : ''} * sum${bias ? ' + bias[i % u.width]' : ''}${plus ? ' + plus[i]' : ''};`),
  })
}
