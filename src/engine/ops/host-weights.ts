/**
 * Packed weights of the wasm backend, kept outside its memory: every product unpacks the rows it needs into a tile, uses it once
 * and frees it with the packed copy that the backend made of it. Refuses to keep anything unpacked.
 */
import { tf } from '../tf'
import { free, heapTensor, multiplyWindows, transposeInto, views } from './heap'
import { packedBytes, unpackInto, type PackedValues } from './packing'

/** Values that are unpacked at once (4 MiB in f32); a test makes it smaller. */
export const tile = { elements: 2 ** 20 }

let held = 0

/** Bytes of packed weights that lie on the host now, beside the backend's memory. */
export function hostBytes(): number {
  return held
}

export class HostWeights {
  readonly #packed: PackedValues
  readonly #out: number
  readonly #in: number

  constructor(packed: PackedValues, out: number, inn: number) {
    this.#packed = packed
    this.#out = out
    this.#in = inn
    held += this.bytes
  }

  get bytes(): number {
    return packedBytes(this.#packed)
  }

  dispose(): void {
    held -= this.bytes
  }

  /** All of W `[out, in]` as a new tensor. */
  whole(): tf.Tensor2D {
    return this.#unpacked(0, this.#out)
  }

  /** Rows at int32 `ids` `[n]` → `[n, in]`. */
  rows(ids: tf.Tensor1D): tf.Tensor2D {
    const y = heapTensor<tf.Rank.R2>([ids.shape[0], this.#in])
    const [wanted, to] = views(ids, y) as [Float32Array, Float32Array]
    for (let i = 0; i < wanted.length; i++) {
      const row = wanted[i]!
      if (row < 0 || row >= this.#out) throw new Error(`row ${row} of a matrix of ${this.#out}`)
      unpackInto(this.#packed, row * this.#in, to.subarray(i * this.#in, (i + 1) * this.#in))
    }
    return y
  }

  /** x·Wᵀ: each tile fills some columns of the result. */
  forward(x: tf.Tensor2D): tf.Tensor2D {
    if (this.#isOneTile) return once(this.#turned(this.whole()), (turned) => tf.matMul(x, turned))
    const n = x.shape[0]
    const y = heapTensor<tf.Rank.R2>([n, this.#out])
    this.#overTiles((tile, from, rows) => {
      const turned = this.#turned(tile)
      const part = multiplyWindows(whole(x), whole(turned))
      turned.dispose()
      const [columns, to] = views(part, y) as [Float32Array, Float32Array]
      for (let i = 0; i < n; i++) to.set(columns.subarray(i * rows, (i + 1) * rows), i * this.#out + from)
      free(part)
    })
    return y
  }

  /** dy·W: the tiles' products add up. */
  backward(dy: tf.Tensor2D): tf.Tensor2D {
    if (this.#isOneTile) return once(this.whole(), (unpacked) => tf.matMul(dy, unpacked))
    const n = dy.shape[0]
    const y = heapTensor<tf.Rank.R2>([n, this.#in])
    views(y)[0]!.fill(0)
    this.#overTiles((tile, from, rows) => {
      const left = heapTensor<tf.Rank.R2>([n, rows])
      const [all, some] = views(dy, left) as [Float32Array, Float32Array]
      for (let i = 0; i < n; i++) some.set(all.subarray(i * this.#out + from, i * this.#out + from + rows), i * rows)
      const part = multiplyWindows(whole(left), whole(tile))
      left.dispose()
      tile.dispose()
      const [more, sum] = views(part, y) as [Float32Array, Float32Array]
      for (let i = 0; i < sum.length; i++) sum[i] = sum[i]! + more[i]!
      free(part)
    })
    return y
  }

  get #isOneTile(): boolean {
    return this.#out * this.#in <= tile.elements
  }

  /** Transposes a tile, and frees it. */
  #turned(tile: tf.Tensor2D): tf.Tensor2D {
    const [rows, columns] = tile.shape
    const turned = heapTensor<tf.Rank.R2>([columns, rows])
    const [source, target] = views(tile, turned) as [Float32Array, Float32Array]
    transposeInto(source, rows, columns, target)
    tile.dispose()
    return turned
  }

  #unpacked(from: number, rows: number): tf.Tensor2D {
    const tensor = heapTensor<tf.Rank.R2>([rows, this.#in])
    unpackInto(this.#packed, from * this.#in, views(tensor)[0]!)
    return tensor
  }

  /** Runs `use` over stretches of rows, unpacked, one after the other; it frees each. */
  #overTiles(use: (tile: tf.Tensor2D, from: number, rows: number) => void): void {
    const size = Math.max(1, Math.floor(tile.elements / this.#in))
    for (let from = 0; from < this.#out; from += size) {
      const rows = Math.min(size, this.#out - from)
      use(this.#unpacked(from, rows), from, rows)
    }
  }
}

/** Uses a tensor, and frees it. */
function once(tensor: tf.Tensor2D, use: (tensor: tf.Tensor2D) => tf.Tensor2D): tf.Tensor2D {
  const result = use(tensor)
  tensor.dispose()
  return result
}

function whole(tensor: tf.Tensor2D): { tensor: tf.Tensor2D; offset: number; rows: number; columns: number } {
  return { tensor, offset: 0, rows: tensor.shape[0], columns: tensor.shape[1] }
}
