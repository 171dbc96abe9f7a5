/**
 * The 8-bit "dynamic" numbers of Dettmers (2015, arXiv:1511.04561; 2022, arXiv:2110.02861): seven decades with more digits for
 * the large ones, as bitsandbytes has them. Refuses to know what is stored in them.
 */

/** Means of neighbours among points that divide 0.1 … 1 evenly, in f32 as torch.linspace gives them: a decade's numbers. */
function means(count: number): number[] {
  const { fround } = Math
  const [first, last] = [fround(0.1), 1]
  const step = fround(fround(last - first) / count)
  const point = (i: number): number =>
    i < Math.floor((count + 1) / 2) ? fround(first + step * i) : fround(last - step * (count - i))
  return Array.from({ length: count }, (_, i) => fround(point(i) + point(i + 1)) / 2)
}

function dynamicMap(signed: boolean): Float32Array {
  const values: number[] = [0, 1]
  for (let decade = 0; decade < 7; decade++) {
    const power = Math.fround(10 ** (decade - 6))
    for (const mean of means(2 ** (signed ? decade : decade + 1))) {
      values.push(power * mean)
      if (signed) values.push(-power * mean)
    }
  }
  return Float32Array.from(values).sort()
}

/** 256 numbers of [-1, 1], ascending; they hold 0 and 1 but not -1. */
export const SIGNED_MAP: Float32Array = dynamicMap(true)

/** 256 numbers of [0, 1], ascending. */
export const UNSIGNED_MAP: Float32Array = dynamicMap(false)

/** Place of the number nearest to `value` in an ascending map; the lower one where two are equally near. */
export function nearest(map: Float32Array, value: number): number {
  let [low, high] = [0, map.length - 1]
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (map[middle]! <= value) low = middle
    else high = middle
  }
  return Math.fround(map[high]! - value) < Math.fround(value - map[low]!) ? high : low
}
