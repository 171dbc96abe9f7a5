/** How a product on webgpu is cut up among workgroups, threads and registers. Refuses to know what the product is of: sizes only. */
import { hasLanes, LANES, laneTile } from './gemm-lanes'
import { isSoftware, processorWidth } from './gpu'

/** What one workgroup works on. */
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

/** Sizes of a product: C is `[m, n]`, summed over k. */
export interface Sizes {
  m: number
  n: number
  k: number
}

/** How a product is cut up. */
export interface Plan {
  tile: Tile
  /** Parts of k that are summed by workgroups of their own; the sums are added after that. */
  slices: number
  /** Depth of a slice (the last may have less); k where there is one. */
  depth: number
}

/** Threads that a product should keep busy at once before k is worth slicing. */
const FILL = 8192
/** Least depth of a slice. */
const SHALLOWEST = 64
/** Sums of slices that may exist at once (4 MiB in f32). */
export const MOST_SUMS = 2 ** 20

function chooseTile({ m, n }: Sizes, plain: boolean): Tile {
  if (plain && hasLanes()) return { ...laneTile(m, n), wy: 1, wx: LANES, bk: 0, lanes: true }
  if (isSoftware()) return { tm: 8, tn: 8, wy: 1, wx: processorWidth(), bk: 0 }
  return hardwareTile(m, n)
}

function hardwareTile(m: number, n: number): Tile {
  const few = Math.ceil(m / 64) * Math.ceil(n / 64) < 24
  const side = (size: number): number => (size <= 16 ? 16 : size <= 32 || few ? 32 : 64)
  return { tm: 4, tn: 4, wy: side(m) / 4, wx: side(n) / 4, bk: 16 }
}

/** Workgroups in x and y. */
export function groupsOf({ tm, tn, wy, wx }: Tile, { m, n }: Sizes): [number, number] {
  return [Math.ceil(n / (tn * wx)), Math.ceil(m / (tm * wy))]
}

/** The plan with so many slices, or fewer where their depth must be whole steps of the program. */
function sliced(tile: Tile, { k }: Sizes, wanted: number): Plan {
  const step = Math.max(4, tile.bk)
  const depth = wanted > 1 ? step * Math.ceil(k / wanted / step) : k
  return { tile, slices: Math.ceil(k / depth), depth }
}

/** So many slices that `fill` threads have work, as far as depth and the memory for their sums allow. */
function planFor(tile: Tile, sizes: Sizes, fill: number): Plan {
  const [x, y] = groupsOf(tile, sizes)
  const wanted = Math.floor(fill / (x * y * tile.wx * tile.wy))
  const most = Math.floor(MOST_SUMS / (sizes.m * sizes.n))
  return sliced(tile, sizes, Math.min(wanted, most, Math.floor(sizes.k / SHALLOWEST)))
}

/** What is used instead of the choice; for tests and benches, which try them all. */
export const tileOverride: { tile: Tile | null; slices: number | null } = { tile: null, slices: null }

/**
 * How to cut a product up on the present device.
 * @param plain nothing is packed, nothing is dropped.
 * @param whole k must not be sliced.
 */
export function planOf(sizes: Sizes, { plain, whole }: { plain: boolean; whole: boolean }): Plan {
  const { tile, slices } = tileOverride
  if (slices !== null && !whole) return sliced(tile ?? chooseTile(sizes, false), sizes, slices)
  if (tile) return sliced(tile, sizes, 1)
  const chosen = chooseTile(sizes, plain)
  return whole || isSoftware() ? sliced(chosen, sizes, 1) : planFor(chosen, sizes, FILL)
}

/** Values that the sums of a plan's slices take: a power of two, so that recorded work, which keeps a buffer a size, needs few. */
export function sumsOf({ slices }: Plan, { m, n }: Sizes): number {
  return 2 ** Math.ceil(Math.log2(slices * m * n))
}

/** Bytes of the sums of slices that a product has on a graphics card; 0 where it is not cut. */
export function sumsBytes(sizes: Sizes): number {
  const plan = planFor(hardwareTile(sizes.m, sizes.n), sizes, FILL)
  return plan.slices > 1 ? 4 * sumsOf(plan, sizes) : 0
}
