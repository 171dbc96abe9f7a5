/** How a product on webgpu is cut up among workgroups, threads and registers. Refuses to know what the product is of: sizes only. */
import { hasLanes, LANES, laneTile } from './gemm-lanes'
import { isSoftware, processorWidth } from './gpu'

/** How a product is cut up. */
export interface Tile {
  /** Rows and columns of C that one thread keeps in registers; multiples of 4. */
  tm: number
  tn: number
  /** Threads in y and x. */
  wy: number
  wx: number
  /** Depth staged at once; 0 reads global memory directly. */
  bk: number
  /** Each lane of a subgroup loads for the others; see gemm-lanes.ts. */
  lanes?: true
}

/** The tile for an `[m, n]` result; `plain` where nothing is packed and nothing is dropped. */
export function chooseTile(m: number, n: number, plain: boolean): Tile {
  if (plain && hasLanes()) return { ...laneTile(m, n), wy: 1, wx: LANES, bk: 0, lanes: true }
  if (isSoftware()) return { tm: 8, tn: 8, wy: 1, wx: processorWidth(), bk: 0 }
  const few = Math.ceil(m / 64) * Math.ceil(n / 64) < 24
  const side = (size: number): number => (size <= 16 ? 16 : size <= 32 || few ? 32 : 64)
  return { tm: 4, tn: 4, wy: side(m) / 4, wx: side(n) / 4, bk: 16 }
}

/** The tile that is used instead of the chosen one; for tests and benches, which try them all. */
export const tileOverride: { tile: Tile | null } = { tile: null }
