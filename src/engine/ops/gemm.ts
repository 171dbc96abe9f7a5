/**
 * Matrix products on webgpu. Refuses batches; one product (and one low-rank product folded into it) a dispatch.
 */
import type { tf } from '../tf'
import type { FrozenMatrix, Packed } from './frozen-matrix'
import { arithmetic, matrixUnits } from './arithmetic'
import { packedType, scaleType } from './packing'
import { dropoutUniforms, seedBinding } from './dropout'
import { lanesWGSL } from './gemm-lanes'
import { matrixExtensions, matrixWGSL } from './gemm-matrix'
import { gemmWGSL, type Layout, type Masked, type ProgramFactor } from './gemm-program'
import { addSlices } from './gemm-slices'
import { groupsOf, planOf, sumsOf, type Plan, type Sizes, type Tile } from './gemm-tile'
import { dispatch, emptyTensor, widest, type Binding } from './gpu'

/** A factor of a product. */
export interface Factor {
  tensor: tf.Tensor
  layout: Layout
  /** Stored rows and columns, where the tensor's own shape does not say. */
  shape?: [number, number]
  /** Only factor B may be packed. */
  packed?: Packed | null
}

/** The k-last factor of a plain matrix. */
export const kLast = (tensor: tf.Tensor2D): Factor => ({ tensor, layout: 'k-last' })

/** The k-first factor of a plain matrix. */
export const kFirst = (tensor: tf.Tensor2D): Factor => ({ tensor, layout: 'k-first' })

/** A frozen matrix as factor B, packed or not. */
export function weights(w: FrozenMatrix, layout: Layout): Factor {
  const { packed } = w
  return { tensor: packed ? packed.words : w.natural(), layout, shape: [w.out, w.in], packed }
}

function stored({ tensor, shape }: Factor): [number, number] {
  return shape ?? (tensor.shape as [number, number])
}

/** C `[m, n]` = scale · A·B, or C = A·B + mask(scale · A₂·B₂), each plus bias and plus where given. */
export interface Gemm {
  a: Factor
  b: Factor
  bias?: tf.Tensor1D | null
  /** Added to C, of its shape; not with `rows`. */
  plus?: tf.Tensor | null
  /** A second product of the same outer sizes, added to the first. */
  low?: { a: Factor; b: Factor } | null
  /** Factor on `low` where there is one, else on the product. */
  scale?: number | tf.Scalar
  /** Only `count` rows of A (which must be k-last) from `readFrom` on; they land in `into` from `writeFrom` on. */
  rows?: { count: number; readFrom?: number; into?: tf.Tensor2D; writeFrom?: number } | null
  dropout?: Masked
}

function outerSize(factor: Factor): number {
  return stored(factor)[factor.layout === 'k-last' ? 0 : 1]
}

function depth(factor: Factor): number {
  return stored(factor)[factor.layout === 'k-last' ? 1 : 0]
}

/** Runs the product on webgpu; the factors' depths must agree (throws otherwise). */
export function gemm(product: Gemm): tf.Tensor2D {
  const { a, b, low = null, scale, bias, plus, rows = null, dropout = null } = product
  const sizes: Sizes = { m: rows?.count ?? outerSize(a), n: outerSize(b), k: depth(a) }
  const { m, n, k } = sizes
  if (depth(b) !== k || (low && depth(low.a) !== depth(low.b))) throw new Error('gemm: inner sizes differ')
  const y = rows?.into ?? emptyTensor<tf.Rank.R2>([m, n])
  const plain = !b.packed && !dropout && arithmetic() === 'f32'
  // A mask on the low-rank product alone is beyond the units.
  const matrix = arithmetic() === 'matrix' && dropout?.on !== 'low'
  const plan = planOf(sizes, { plain, whole: low !== null, matrix })
  if (plan.slices === 1) {
    multiply(product, plan, sizes, y)
  } else {
    const sums = emptyTensor<tf.Rank.R1>([sumsOf(plan, sizes)])
    multiply({ a, b, dropout, rows: rows && { ...rows, writeFrom: 0 } }, plan, sizes, sums)
    addSlices(sums, y, { m, n, slices: plan.slices, scale, bias, plus, writeFrom: rows?.writeFrom })
    sums.dispose()
  }
  return y
}

/** The product itself; where k is sliced, the sums of the slices one after the other. */
function multiply(product: Gemm, { tile, slices, depth: slice }: Plan, sizes: Sizes, y: tf.Tensor): void {
  const { a, b, bias = null, plus = null, low = null, scale = 1, dropout = null, rows = null } = product
  const units = arithmetic() === 'matrix' ? matrixUnits() : null
  const precision = units?.component ?? (arithmetic() === 'f32' ? 'f32' : 'f16')
  const type = (contiguous: number): string => (tile.lanes ? 'f32' : widest(contiguous))
  const resultType = tile.matrix ? 'f32' : type(sizes.n)
  const factors: (ProgramFactor & Factor)[] = [{ name: 'a', ...a }, { name: 'b', ...b }] // prettier-ignore
  if (low) factors.push({ name: 'la', ...low.a }, { name: 'lb', ...low.b })
  const bindings: Record<string, Binding> = { y: { tensor: y, type: resultType, write: true } }
  for (const factor of factors) {
    const { name, tensor, packed } = factor
    bindings[name] = { tensor, type: packed ? packedType(packed.precision) : type(stored(factor)[1]) }
    if (packed?.scales) bindings[`${name}_scales`] = { tensor: packed.scales, type: scaleType(packed.precision) }
  }
  if (bias) bindings.bias = { tensor: bias, type: 'f32' }
  if (plus) bindings.plus = { tensor: plus, type: resultType }
  if (typeof scale !== 'number') bindings.scale = { tensor: scale, type: 'f32' }
  if (dropout) Object.assign(bindings, seedBinding(dropout.key))
  const layouts = factors.map(({ layout }) => (layout === 'k-last' ? 'l' : 'f')).join('')
  dispatch({
    enable: tile.matrix ? matrixExtensions(units!) : tile.lanes ? ['subgroups'] : precision === 'f16' ? ['f16'] : [],
    key: `gemm ${tile.matrix ? `matrix ${Object.values(units!).join()} ` : ''}${precision} ${Object.values(tile).join()} ${layouts} ${dropout?.on ?? ''} ${b.packed ? b.packed.precision + b.packed.group : ''}`,
    bindings,
    uniforms: {
      ...sizes,
      slice,
      lk: low ? depth(low.a) : 0,
      a_from: rows?.readFrom ?? 0,
      y_from: rows?.writeFrom ?? 0,
      factor: typeof scale === 'number' ? scale : 1,
      ...(dropout ? dropoutUniforms(dropout.key) : {}),
    },
    floats: ['factor', 'drop_keep'],
    workgroups: [...groupsOf(tile, sizes), slices],
    code: () =>
      tile.matrix
        ? matrixWGSL(tile, units!, bindings, factors, dropout)
        : tile.lanes
          ? laneCode(tile, bindings, factors)
          : gemmWGSL(tile, bindings, factors, dropout, precision),
  })
}

function laneCode(tile: Tile, bindings: Record<string, Binding>, factors: readonly ProgramFactor[]): string {
  const [a, b, la, lb] = factors.map(({ name, layout }) => ({ name, kLast: layout === 'k-last' }))
  const scale = `u.factor${bindings.scale ? ' * scale[0]' : ''}`
  return lanesWGSL(tile, [a!, b!], la && lb ? [la, lb] : null, {
    scale,
    bias: Boolean(bindings.bias),
    plus: Boolean(bindings.plus),
  })
}
