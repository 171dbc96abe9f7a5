/** How a product on webgpu is cut up among workgroups, threads and registers. Refuses to know what the product is of: sizes only. */
import {
  CANDIDATES,
  choicesNamed,
  classOf,
  type Candidate,
  type Choices,
  type Sizes,
  type Tile,
} from './gemm-candidates'
import { hasLanes, LANES, laneTile } from './gemm-lanes'
import { MATRIX } from './gemm-matrix'
import { gpuDevice, isSoftware, processorWidth } from './gpu'

export type { Sizes, Tile }

/** How a product is cut up. */
export interface Plan {
  tile: Tile
  /** Parts of k that are summed by workgroups of their own; the sums are added after that. */
  slices: number
  /** Depth of a slice (the last may have less); k where there is one. */
  depth: number
}

/** Least depth of a slice. */
const SHALLOWEST = 64
/** Sums of slices that may exist at once (4 MiB in f32). */
const MOST_SUMS = 2 ** 20

function chooseSoftwareTile({ m, n }: Sizes, plain: boolean): Tile {
  if (plain && hasLanes()) return { ...laneTile(m, n), wy: 1, wx: LANES, bk: 0, lanes: true }
  return { tm: 8, tn: 8, wy: 1, wx: processorWidth(), bk: 0 }
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
function slicesFor(tile: Tile, sizes: Sizes, fill: number): number {
  const [x, y] = groupsOf(tile, sizes)
  const wanted = Math.floor(fill / (x * y * tile.wx * tile.wy))
  const most = Math.floor(MOST_SUMS / (sizes.m * sizes.n))
  return Math.min(wanted, most, Math.floor(sizes.k / SHALLOWEST))
}

/** The plan of a candidate for a product of its class. */
export function planFor({ tile, fill }: Candidate, sizes: Sizes, whole = false): Plan {
  const chosen = tile(sizes.m, sizes.n)
  return sliced(chosen, sizes, whole ? 1 : slicesFor(chosen, sizes, fill))
}

/** What is used instead of the choice; for tests, benches and measurements, which try them all. */
export const tileOverride: { tile: Tile | null; slices: number | null; candidate: Candidate | null } = {
  tile: null,
  slices: null,
  candidate: null,
}

/** What was chosen for a device by measurement, or the first of each class. */
const chosen = new WeakMap<GPUDevice, Choices>()

/** Makes products on the present device follow these choices; null for the first of each class. */
export function useChoices(choices: Choices | null): void {
  const device = gpuDevice()
  chosen.set(device, choices ?? choicesNamed((shape) => CANDIDATES[shape][0]!.name, device.limits)!)
}

/** What a graphics card that were the present device would take for such a product. */
export function candidateFor(sizes: Sizes): Candidate {
  const device = gpuDevice()
  if (!chosen.has(device)) useChoices(null)
  return chosen.get(device)![classOf(sizes)]
}

/**
 * How to cut a product up on the present device.
 * @param plain nothing is packed, nothing is dropped, nothing is rounded.
 * @param whole k must not be sliced.
 * @param matrix it goes to matrix units.
 */
export function planOf(
  sizes: Sizes,
  { plain, whole, matrix = false }: { plain: boolean; whole: boolean; matrix?: boolean },
): Plan {
  const { slices, candidate } = tileOverride
  const tile = tileOverride.tile?.matrix && !matrix ? null : tileOverride.tile
  const own = (): Tile => (matrix ? MATRIX.tile(sizes.m, sizes.n) : chooseSoftwareTile(sizes, plain && slices === null))
  if (candidate) return planFor(candidate, sizes, whole)
  if (slices !== null && !whole) return sliced(tile ?? own(), sizes, slices)
  if (tile) return sliced(tile, sizes, 1)
  if (isSoftware()) return sliced(own(), sizes, 1)
  return planFor(matrix ? MATRIX : candidateFor(sizes), sizes, whole)
}

/** Values that the sums of a plan's slices take: a power of two, so that recorded work, which keeps a buffer a size, needs few. */
export function sumsOf({ slices }: Plan, { m, n }: Sizes): number {
  return 2 ** Math.ceil(Math.log2(slices * m * n))
}

/** Bytes of the sums of slices that a product has on a graphics card unmeasured; 0 where it is not cut. */
export function sumsBytes(sizes: Sizes): number {
  const plan = planFor(CANDIDATES[classOf(sizes)][0]!, sizes)
  return plan.slices > 1 ? 4 * sumsOf(plan, sizes) : 0
}
