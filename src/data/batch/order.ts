/**
 * In which order a pass goes through rows and what is mixed in. Refuses anything that seed, pass and lengths do not fix, so that
 * a place in the stream of rows is one number.
 */
import { permutation } from './random'

export interface OrderOptions {
  batchSize: number
  /** A new seeded order each pass; otherwise file order, with what is mixed in spread evenly. */
  shuffle: boolean
  seed: number
  /** Puts rows of like length into the same batch. */
  groupByLength?: boolean
}

/** Rows of another dataset: how many there are, and the share of every pass that comes from them. */
interface Extra {
  count: number
  share: number
}

/** Batches whose rows are sorted by length together: enough to find rows alike, few enough to stay a random order. */
const GROUPED = 50
/** Keeps the orders of mixed-in datasets and of groups apart from those of passes. */
const EXTRA_SEED = 0x51ed27
const GROUP_STREAM = -11

/**
 * Rows of a pass from each mixed-in dataset: together with the `rows` of the dataset itself they have the shares asked for.
 * @throws RangeError where the shares leave nothing for the dataset itself.
 */
export function extraCounts(rows: number, extras: readonly Extra[]): number[] {
  const own = 1 - extras.reduce((sum, { share }) => sum + share, 0)
  if (!(own > 0)) throw new RangeError('shares of 1 or more')
  return extras.map(({ count, share }) =>
    count === 0 || share <= 0 ? 0 : Math.max(1, Math.round((rows * share) / own)),
  )
}

/**
 * The rows of pass `pass`, as numbers below `rows` for the dataset itself and, after those, counted on through the extras.
 * @param lengthOf tokens of such a number's row.
 */
export function passOrder(
  rows: number,
  extras: readonly Extra[],
  pass: number,
  options: OrderOptions,
  lengthOf: (index: number) => number,
): Uint32Array {
  const chosen = chosenRows(rows, extras, pass, options.seed)
  const order = options.shuffle ? permutation(chosen.length, options.seed, pass).map((i) => chosen[i]!) : chosen
  return options.groupByLength ? grouped(order, pass, options, lengthOf) : order
}

/** All rows in order with those of the extras spread evenly among them; each extra goes on where the pass before left off. */
function chosenRows(rows: number, extras: readonly Extra[], pass: number, seed: number): Uint32Array {
  const placed: [place: number, index: number][] = []
  for (let i = 0; i < rows; i++) placed.push([(i + 0.5) / rows, i])
  let base = rows
  extraCounts(rows, extras).forEach((taken, e) => {
    const { count } = extras[e] as Extra
    let cycle = -1
    let order: Uint32Array = new Uint32Array(0)
    for (let i = 0; i < taken; i++) {
      const at = pass * taken + i
      const wanted = Math.floor(at / count)
      if (wanted !== cycle) order = permutation(count, seed + EXTRA_SEED * (e + 1), (cycle = wanted))
      placed.push([(i + 0.5) / taken, base + order[at % count]!])
    }
    base += count
  })
  if (placed.length > rows) placed.sort((a, b) => a[0] - b[0])
  return Uint32Array.from(placed, ([, index]) => index)
}

/** Rows of like length in one batch, batches in a seeded order; batches are cut where the stream of all passes cuts them. */
function grouped(
  order: Uint32Array,
  pass: number,
  { batchSize, seed }: OrderOptions,
  lengthOf: (index: number) => number,
): Uint32Array {
  const size = order.length
  const first = (batchSize - ((pass * size) % batchSize)) % batchSize
  const sorted = new Uint32Array(size)
  sorted.set(order.subarray(0, first))
  for (let from = first; from < size; from += GROUPED * batchSize) {
    const part = [...order.subarray(from, from + GROUPED * batchSize)]
    sorted.set(
      part.sort((a, b) => lengthOf(b) - lengthOf(a)),
      from,
    )
  }
  const batches = Math.max(0, Math.floor((size - first) / batchSize))
  const result = sorted.slice()
  permutation(batches, seed + pass, GROUP_STREAM).forEach((from, to) => {
    result.set(sorted.subarray(first + from * batchSize, first + (from + 1) * batchSize), first + to * batchSize)
  })
  return result
}
