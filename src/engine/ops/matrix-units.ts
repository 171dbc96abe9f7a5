/**
 * Finds out whether the device's matrix units are of use, by multiplying on them: the WebGPU feature is an experiment, whose spelling and
 * whose numbers differ between browsers and drivers. Refuses devices whose subgroups differ in size, and units that sum in halves.
 */
import { MATRIX_FEATURE } from '../../shared/arithmetic'
import { tf } from '../tf'
import { inArithmetic, useMatrixUnits, type MatrixUnits } from './arithmetic'
import { gemm, kFirst, kLast } from './gemm'
import { largestTile, matrixStorage, tiles } from './gemm-matrix'
import { tileOverride } from './gemm-tile'
import { gpuDevice } from './gpu'

interface Config {
  componentType: string
  resultComponentType: string
  M: number
  N: number
  K: number
}

/**
 * Looks for units on the present device that multiply correctly and has products use them; nothing else may use the device meanwhile.
 * @param info the adapter's own: a device's says nothing of units.
 */
export async function findMatrixUnits(info: GPUAdapterInfo): Promise<MatrixUnits | null> {
  for (const units of offered(info)) {
    useMatrixUnits(units)
    if (await multiplies()) return units
  }
  useMatrixUnits(null)
  return null
}

/** What the adapter says that its units take, the best first; in both ways of writing it. */
function offered(info: GPUAdapterInfo & { subgroupMatrixConfigs?: Iterable<Config> }): MatrixUnits[] {
  const { features, limits } = gpuDevice()
  const { subgroupMinSize, subgroupMaxSize: lanes, subgroupMatrixConfigs } = info
  if (!features.has(MATRIX_FEATURE as GPUFeatureName) || !features.has('subgroups')) return []
  if (!lanes || subgroupMinSize !== lanes) return []
  const known = (['f16', 'f32'] as const).filter((component) => component === 'f32' || features.has('shader-f16'))
  return known.flatMap((component) => {
    const [best] = [...(subgroupMatrixConfigs ?? [])]
      .filter((one) => one.componentType === component && one.resultComponentType === 'f32')
      .map(({ M, N, K }) => ({ component, m: M, n: N, k: K, lanes }))
      .filter((one) => tiles(one) && matrixStorage(one) <= limits.maxComputeWorkgroupStorageSize)
      .sort((a, b) => b.m * b.n * b.k - a.m * a.n * a.k)
    return best ? (['parameter', 'argument'] as const).map((order) => ({ ...best, order })) : []
  })
}

/** Whether a product of small whole numbers comes out exactly, in every corner of the largest tile and past its edge. */
async function multiplies(): Promise<boolean> {
  const device = gpuDevice()
  device.pushErrorScope('internal')
  device.pushErrorScope('validation')
  const right = await product().catch(() => false)
  const errors = [await device.popErrorScope(), await device.popErrorScope()]
  return right && errors.every((error) => error === null)
}

async function product(): Promise<boolean> {
  const [m, n, k] = [70, 68, 40]
  const whole = (count: number, step: number): Float32Array =>
    Float32Array.from({ length: count }, (_, i) => ((i * step) % 11) - 5)
  const [a, b] = [whole(m * k, 7), whole(k * n, 3)]
  const [left, right] = [tf.tensor2d(a, [m, k]), tf.tensor2d(b, [k, n])]
  tileOverride.tile = largestTile()
  try {
    const y = inArithmetic('matrix', () => gemm({ a: kLast(left), b: kFirst(right) }))
    const values = await y.data()
    y.dispose()
    return values.every((value, i) => {
      const [row, column] = [Math.floor(i / n), i % n]
      let sum = 0
      for (let at = 0; at < k; at++) sum += a[row * k + at]! * b[at * n + column]!
      return value === sum
    })
  } finally {
    tileOverride.tile = null
    tf.dispose([left, right])
  }
}
