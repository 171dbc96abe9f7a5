/**
 * Keys and values of the tokens so far, of one layer, at a fixed capacity so that device buffers are reused from token to token.
 * Refuses to grow by itself: the owner asks for room before a pass.
 */
import { onHeap, views } from '../ops/heap'
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
   */
  write(
    keys: tf.Tensor4D,
    values: tf.Tensor4D,
    past: number,
    count: number,
  ): { keys: tf.Tensor4D; values: tf.Tensor4D } {
    const put = (old: tf.Tensor4D | null, fresh: tf.Tensor4D): tf.Tensor4D => {
      if (onHeap()) return writeInPlace(old ?? this.#empty(fresh), fresh, past, count)
      const next = tf.keep(
        tf.tidy(() => {
          const [batch, seq, heads, dim] = fresh.shape
          const rows = count < seq ? tf.slice(fresh, [0, 0, 0, 0], [batch, count, heads, dim]) : fresh
          const after = this.#capacity - past - count
          const placed = tf.pad(rows, [[0, 0], [past, after], [0, 0], [0, 0]]) // prettier-ignore
          return old ? tf.add(old, placed) : placed
        }),
      ) as tf.Tensor4D
      old?.dispose()
      return next
    }
    this.#keys = put(this.#keys, keys)
    this.#values = put(this.#values, values)
    return { keys: this.#keys, values: this.#values }
  }

  #empty(like: tf.Tensor4D): tf.Tensor4D {
    const [batch, , heads, dim] = like.shape
    return tf.keep(tf.zeros([batch, this.#capacity, heads, dim]))
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
