/**
 * Writes GGUF files (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), version 3, tensor by tensor. Refuses to know what the
 * tensors mean.
 */
import { byteCount, encodeTensor, GGML_TYPES, type GgmlType } from './ggml-types'
import type { OutFile } from './out-file'

/** A metadata value with its type on disk. */
export type GgufValue =
  | { type: 'u32' | 'i32' | 'f32' | 'u64'; value: number }
  | { type: 'bool'; value: boolean }
  | { type: 'string'; value: string }
  | { type: 'array'; of: 'i32' | 'f32'; value: readonly number[] }
  | { type: 'array'; of: 'string'; value: readonly string[] }
export type GgufMetadata = readonly (readonly [key: string, value: GgufValue])[]

/** A tensor to be written; the shape is row-major (`[out, in]`), on disk it stands the other way round. */
export interface GgufTensor {
  readonly name: string
  readonly shape: readonly number[]
  readonly type: GgmlType
  /** Its values, made when they are written. */
  values(): Promise<Float32Array>
}

/** Tensors begin at multiples of this. */
export const ALIGNMENT = 32
/** "GGUF" */
export const MAGIC = 0x46554747
const TYPE_IDS = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9, u64: 10 } as const

/** Bytes that grow. */
class Writer {
  private bytes = new Uint8Array(1 << 16)
  private view = new DataView(this.bytes.buffer)
  length = 0

  private room(count: number): number {
    const at = this.length
    this.length += count
    if (this.length > this.bytes.length) {
      const larger = new Uint8Array(Math.max(this.length, this.bytes.length * 2))
      larger.set(this.bytes)
      this.bytes = larger
      this.view = new DataView(larger.buffer)
    }
    return at
  }
  u32(value: number): void {
    const at = this.room(4)
    this.view.setUint32(at, value, true)
  }
  i32(value: number): void {
    const at = this.room(4)
    this.view.setInt32(at, value, true)
  }
  f32(value: number): void {
    const at = this.room(4)
    this.view.setFloat32(at, value, true)
  }
  u64(value: number): void {
    const at = this.room(8)
    this.view.setBigUint64(at, BigInt(value), true)
  }
  u8(value: number): void {
    const at = this.room(1)
    this.view.setUint8(at, value)
  }
  string(text: string): void {
    const encoded = new TextEncoder().encode(text)
    this.u64(encoded.length)
    const at = this.room(encoded.length)
    this.bytes.set(encoded, at)
  }
  value(value: GgufValue): void {
    this.u32(TYPE_IDS[value.type])
    if (value.type === 'bool') this.u8(value.value ? 1 : 0)
    else if (value.type === 'string') this.string(value.value)
    else if (value.type === 'array') {
      this.u32(TYPE_IDS[value.of])
      this.u64(value.value.length)
      if (value.of === 'string') for (const item of value.value) this.string(item)
      else for (const item of value.value) this[value.of](item)
    } else this[value.type](value.value)
  }
  pad(): void {
    while (this.length % ALIGNMENT !== 0) this.u8(0)
  }
  done(): Uint8Array {
    return this.bytes.slice(0, this.length)
  }
}

const padded = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT

/** A GGUF file. */
export function writeGguf(name: string, metadata: GgufMetadata, tensors: readonly GgufTensor[]): OutFile {
  const head = new Writer()
  head.u32(MAGIC)
  head.u32(3)
  head.u64(tensors.length)
  head.u64(metadata.length)
  for (const [key, value] of metadata) {
    head.string(key)
    head.value(value)
  }
  let offset = 0
  for (const tensor of tensors) {
    head.string(tensor.name)
    head.u32(tensor.shape.length)
    for (const size of [...tensor.shape].reverse()) head.u64(size)
    head.u32(GGML_TYPES[tensor.type].id)
    head.u64(offset)
    offset += padded(byteCount(tensor.type, tensor.shape))
  }
  head.pad()
  const bytes = head.done()
  return {
    name,
    size: bytes.length + offset,
    async *chunks() {
      yield bytes
      for (const tensor of tensors) {
        const data = encodeTensor(tensor.type, await tensor.values())
        const wanted = byteCount(tensor.type, tensor.shape)
        if (data.length !== wanted) throw new Error(`${tensor.name} has ${data.length} bytes instead of ${wanted}`)
        yield data
        const gap = padded(wanted) - wanted
        if (gap > 0) yield new Uint8Array(gap)
      }
    },
  }
}
