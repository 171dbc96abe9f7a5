/**
 * The ways to cut a product up that are worth trying on a graphics card, by class of shape. Refuses to choose: gemm-tile.ts takes the
 * first of a class, or what was measured to be the fastest.
 */

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
  /** A subgroup stands where a thread does otherwise, and works on matrix units; see gemm-matrix.ts. */
  matrix?: true
}

/** Sizes of a product: C is `[m, n]`, summed over k. */
export interface Sizes {
  m: number
  n: number
  k: number
}

/** What products are alike in. */
export type ShapeClass = 'row' | 'thin' | 'few' | 'medium' | 'large'

/** One way to cut up the products of a class. */
export interface Candidate {
  /** Says everything about it, and is what a choice is kept as. */
  name: string
  tile(m: number, n: number): Tile
  /** Threads that should have work before k is left whole; 0 never slices it. */
  fill: number
}

/** One candidate for each class. */
export type Choices = Readonly<Record<ShapeClass, Candidate>>

/** To be raised with every change of {@link CANDIDATES}: what was measured on others says nothing about these. */
export const CANDIDATES_VERSION = 1

const blocks = (size: number): number => Math.ceil(size / 64)

/** `row`: a token or a few at a time; `thin`: low-rank factors and their gradients; the others by how many blocks of 64 by 64 they have. */
export function classOf({ m, n }: Pick<Sizes, 'm' | 'n'>): ShapeClass {
  if (m <= 8) return 'row'
  if (Math.min(m, n) <= 32) return 'thin'
  const count = blocks(m) * blocks(n)
  return count < 24 ? 'few' : count < 192 ? 'medium' : 'large'
}

/** Workgroups of `rows` by `columns`, of which a thread has `tm` by `tn`, staged `bk` deep. */
function block(rows: number, columns: number, [tm, tn]: [number, number], bk = 16, fill = 0): Candidate {
  const tile: Tile = { tm, tn, wy: rows / tm, wx: columns / tn, bk }
  return { name: `${rows}x${columns}, ${tm}x${tn} a thread, ${bk} deep${filled(fill)}`, tile: () => tile, fill }
}

const filled = (fill: number): string => (fill > 0 ? `, for ${fill} threads` : '')

/** As long a workgroup on the long side of C; on the other as wide as C, in whole fours of threads. */
function strip(long: number, each: number, fill: number): Candidate {
  const tile = (m: number, n: number): Tile => {
    const narrow = Math.min(m, n) <= 8 ? 2 : Math.min(m, n) <= 16 ? 4 : 8
    return n <= m
      ? { tm: each, tn: 4, wy: long / each, wx: narrow, bk: 16 }
      : { tm: 4, tn: each, wy: narrow, wx: long / each, bk: 16 }
  }
  return { name: `strips of ${long}, ${each} a thread${filled(fill)}`, tile, fill }
}

/** All of the few rows of C, `columns` wide; staged `bk` deep, or read directly where that is 0. */
function line(columns: number, bk: number, fill: number): Candidate {
  const tile = (m: number): Tile => ({ tm: 4, tn: 4, wy: m <= 4 ? 1 : 2, wx: columns / 4, bk })
  return { name: `lines of ${columns}, ${bk} deep${filled(fill)}`, tile, fill }
}

/** The first of each class is what a card gets that was not measured; it keeps within the limits that every device grants. */
export const CANDIDATES: Readonly<Record<ShapeClass, readonly Candidate[]>> = {
  row: [line(128, 16, 8192), line(128, 16, 32768), line(64, 16, 8192), line(256, 0, 8192), line(256, 0, 32768)],
  thin: [
    strip(64, 4, 8192),
    strip(64, 4, 0),
    strip(64, 4, 32768),
    strip(32, 4, 8192),
    strip(32, 4, 32768),
    strip(128, 8, 8192),
  ],
  few: [
    block(32, 32, [4, 4], 16, 8192),
    block(32, 32, [4, 4]),
    block(32, 32, [4, 4], 16, 32768),
    block(64, 64, [8, 4], 16, 32768),
    block(64, 64, [8, 8], 16, 32768),
  ],
  medium: [
    block(64, 64, [4, 4]),
    block(64, 64, [8, 4]),
    block(64, 64, [8, 8]),
    block(32, 64, [4, 4]),
    block(32, 32, [4, 4]),
    block(128, 64, [8, 8]),
  ],
  large: [
    block(64, 64, [4, 4]),
    block(64, 64, [8, 4]),
    block(64, 64, [8, 8]),
    block(128, 64, [8, 8]),
    block(128, 128, [8, 8], 8),
    block(128, 128, [8, 8]),
  ],
}

type Limits = Pick<
  GPUSupportedLimits,
  | 'maxComputeInvocationsPerWorkgroup'
  | 'maxComputeWorkgroupSizeX'
  | 'maxComputeWorkgroupSizeY'
  | 'maxComputeWorkgroupStorageSize'
>

/** Whether a device takes workgroups of this tile: their threads, and what they stage in 32 bits (in halves it is less). */
export function fits({ tm, tn, wy, wx, bk }: Tile, limits: Limits): boolean {
  return (
    wx * wy <= limits.maxComputeInvocationsPerWorkgroup &&
    wx <= limits.maxComputeWorkgroupSizeX &&
    wy <= limits.maxComputeWorkgroupSizeY &&
    4 * bk * (tm * wy + tn * wx) <= limits.maxComputeWorkgroupStorageSize
  )
}

/** The shapes of a class whose tiles are the largest. */
const EXTREMES: Readonly<Record<ShapeClass, readonly [m: number, n: number][]>> = {
  row: [[8, 4096]],
  thin: [[4096, 32], [32, 4096]],
  few: [[64, 64]],
  medium: [[512, 1024]],
  large: [[4096, 4096]],
} // prettier-ignore

/** The candidates of a class that a device takes; never none, for the first of each keep within what every device grants. */
export function candidatesFor(shape: ShapeClass, limits: Limits): Candidate[] {
  return CANDIDATES[shape].filter(({ tile }) => EXTREMES[shape].every(([m, n]) => fits(tile(m, n), limits)))
}

/** All classes, those that training lives on first. */
export const SHAPES: readonly ShapeClass[] = ['medium', 'thin', 'large', 'few', 'row']

/** For each class the candidate of a name among those that a device takes; null where one is not there. */
export function choicesNamed(nameOf: (shape: ShapeClass) => unknown, limits: Limits): Choices | null {
  const found = SHAPES.map((shape) => {
    const name = nameOf(shape)
    return [shape, candidatesFor(shape, limits).find((candidate) => candidate.name === name)] as const
  })
  return found.every(([, candidate]) => candidate) ? (Object.fromEntries(found) as Choices) : null
}
