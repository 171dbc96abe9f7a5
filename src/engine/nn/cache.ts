/**
 * Keys and values of the tokens so far, of one layer, at a fixed capacity so that device buffers are reused from token to token.
 * Refuses to grow by itself: the owner asks for room before a pass.
 */
import { dispatch, onGPU, spread } from '../ops/gpu'
import { onHeap, views, type RowNumbers } from '../ops/heap'
import { elementMain } from '../ops/reduce'
import { tf } from '../tf'

/** Keys and values `[batch, capacity, heads, dim]`; rows after the tokens so far are zero. */
export class LayerCache {
  #keys: tf.Tensor4D | null = null
  #values: tf.Tensor4D | null = null
  #capacity = 0

  /** Makes room for `length` tokens in all; capacities are multiples of `block`. */
  reserve(length: number, block: number): void {
    const capacity = Math.ceil(length / block) * block
    if (capacity <= this.#capacity) return
    const more = capacity - this.#capacity
    this.#capacity = capacity
    if (!this.#keys || !this.#values) return
    const grow = (old: tf.Tensor4D): tf.Tensor4D => {
      const grown = tf.keep(tf.tidy(() => tf.pad(old, [[0, 0], [0, more], [0, 0], [0, 0]]))) // prettier-ignore
      old.dispose()
      return grown
    }
    this.#keys = grow(this.#keys)
    this.#values = grow(this.#values)
  }

  /**
   * Writes `[batch, seq, heads, dim]` at `past` and returns everything held, `[batch, capacity, heads, dim]` (owned by the cache).
   * @param count how many of the `seq` rows are tokens; the rest is padding and is not kept.
   * @param here the past on the device, which on a GPU counts instead.
   */
  write(
    keys: tf.Tensor4D,
    values: tf.Tensor4D,
    past: number,
    count: number,
    here?: RowNumbers,
  ): { keys: tf.Tensor4D; values: tf.Tensor4D } {
    const put = (old: tf.Tensor4D | null, fresh: tf.Tensor4D): tf.Tensor4D => {
      const cache = old ?? this.#empty(fresh)
      if (onGPU()) return writeProgram(cache, fresh, past, count, here)
      if (onHeap()) return writeInPlace(cache, fresh, past, count)
      const next = tf.keep(
        tf.tidy(() => {
          const [batch, , heads, dim] = fresh.shape
          const rows = tf.slice(fresh, [0, 0, 0, 0], [batch, count, heads, dim])
          const after = this.#capacity - past - count
          return tf.add(cache, tf.pad(rows, [[0, 0], [past, after], [0, 0], [0, 0]])) // prettier-ignore
        }),
      ) as tf.Tensor4D
      cache.dispose()
      return next
    }
    this.#keys = put(this.#keys, keys)
    this.#values = put(this.#values, values)
    return { keys: this.#keys, values: this.#values }
  }

  #empty(like: tf.Tensor4D): tf.Tensor4D {
    const [batch, , heads, dim] = like.shape
    return tf.keep(tf.fill([batch, this.#capacity, heads, dim], 0) as tf.Tensor4D)
  }

  dispose(): void {
    this.#keys?.dispose()
    this.#values?.dispose()
    this.#keys = this.#values = null
    this.#capacity = 0
  }
}

/** Copies the first `count` rows of `fresh` to position `past` of a cache that lies in memory. */
function writeInPlace(cache: tf.Tensor4D, fresh: tf.Tensor4D, past: number, count: number): tf.Tensor4D {
  const [batch, seq, heads, dim] = fresh.shape
  const width = heads * dim
  const capacity = cache.shape[1]
  const [to, from] = views(cache, fresh) as [Float32Array, Float32Array]
  for (let b = 0; b < batch; b++)
    to.set(from.subarray(b * seq * width, (b * seq + count) * width), (b * capacity + past) * width)
  return cache
}

/** The same where the cache lies in a GPU buffer, which it keeps. */
function writeProgram(
  cache: tf.Tensor4D,
  fresh: tf.Tensor4D,
  past: number,
  count: number,
  here?: RowNumbers,
): tf.Tensor4D {
  const [batch, seq, heads, dim] = fresh.shape
  const width = heads * dim
  const size = batch * count * width
  dispatch({
    key: 'cache rows',
    bindings: {
      cache: { tensor: cache, type: 'f32', write: true },
      fresh: { tensor: fresh, type: 'f32' },
      ...(here ? { here: { tensor: here.device, type: 'i32' } } : {}),
    },
    uniforms: {
      ...{ size, width, row: count * width },
      ...{ fresh_row: seq * width, cache_row: cache.shape[1] * width, past: here ? 0 : past },
    },
    workgroups: spread(Math.ceil(size / 64)),
    code: () =>
      elementMain(`let b = i / u.row;
    let at = ${here ? 'u32(here[0])' : 'u.past'} * u.width + i % u.row;
    cache[b * u.cache_row + at] = fresh[b * u.fresh_row + i % u.row];`),
  })
  return cache
}
