/**
 * GGUF files (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), version 3: written tensor by tensor, and read with every number
 * checked. Refuses to know what the tensors mean.
 */
import { CodedError } from '../../shared/errors'
import type { FileSource } from '../../shared/files'
import { byteCount, decodeTensor, encodeTensor, GGML_TYPES, type GgmlType } from './ggml-types'
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

const ALIGNMENT = 32
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
  head.u32(0x46554747)
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

/** A tensor in a file that was read. */
export interface GgufInfo {
  /** Row-major. */
  readonly shape: readonly number[]
  readonly type: GgmlType
  /** Absolute byte range. */
  readonly start: number
  readonly end: number
}

export interface GgufFile {
  readonly file: string
  readonly metadata: ReadonlyMap<string, unknown>
  readonly tensors: ReadonlyMap<string, GgufInfo>
}

function wrong(what: string, where: string): CodedError {
  return new CodedError('model.header', what, { where, fix: 'The file is damaged: download or export it again.' })
}

/** Thrown inside when the bytes at hand end; more are read then. */
class NeedMore extends Error {}

class Reader {
  at = 0
  private readonly view: DataView
  private readonly bytes: Uint8Array
  private readonly file: string

  constructor(bytes: Uint8Array, file: string) {
    this.bytes = bytes
    this.file = file
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  }
  private take(count: number): number {
    if (this.at + count > this.bytes.length) throw new NeedMore()
    const at = this.at
    this.at += count
    return at
  }
  u32 = () => this.view.getUint32(this.take(4), true)
  u64 = () => {
    const value = this.view.getBigUint64(this.take(8), true)
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw wrong('A number in the file is absurdly large.', this.file)
    return Number(value)
  }
  string = () => {
    const length = this.u64()
    if (length > 1 << 26) throw wrong('A text in the file is absurdly long.', this.file)
    const at = this.take(length)
    return new TextDecoder().decode(this.bytes.subarray(at, at + length))
  }
  /** Any value by its type number. */
  value(type: number, depth = 0): unknown {
    const { view } = this
    switch (type) {
      case 0:
        return view.getUint8(this.take(1))
      case 1:
        return view.getInt8(this.take(1))
      case 2:
        return view.getUint16(this.take(2), true)
      case 3:
        return view.getInt16(this.take(2), true)
      case 4:
        return this.u32()
      case 5:
        return view.getInt32(this.take(4), true)
      case 6:
        return view.getFloat32(this.take(4), true)
      case 7:
        return view.getUint8(this.take(1)) !== 0
      case 8:
        return this.string()
      case 9: {
        const of = this.u32()
        const count = this.u64()
        if (depth > 2 || count > 1 << 26) throw wrong('A list in the file is absurdly long.', this.file)
        return Array.from({ length: count }, () => this.value(of, depth + 1))
      }
      case 10:
        return Number(view.getBigUint64(this.take(8), true))
      case 11:
        return Number(view.getBigInt64(this.take(8), true))
      case 12:
        return view.getFloat64(this.take(8), true)
      default:
        throw wrong(`A value has the unknown type ${type}.`, this.file)
    }
  }
}

/** Reads and checks the head of a GGUF file. Throws CodedError `model.header`, `model.truncated`, `model.unsupported`, `file.missing`. */
export async function readGguf(source: FileSource, name: string): Promise<GgufFile> {
  const size = (await source.list()).find((file) => file.name === name)?.size
  if (size === undefined)
    throw new CodedError('file.missing', `There is no ${name}.`, { where: name, fix: 'Pick the right file.' })
  for (let length = 1 << 20; ; length *= 4) {
    const bytes = await source.read(name, 0, Math.min(length, size))
    try {
      return parse(new Reader(bytes, name), name, size)
    } catch (error) {
      if (!(error instanceof NeedMore)) throw error
      if (length >= size) throw truncated(name)
    }
  }
}

function truncated(name: string): CodedError {
  return new CodedError('model.truncated', 'The file ends too early.', {
    where: name,
    fix: 'The download or copy was cut off: fetch the file again.',
  })
}

function parse(reader: Reader, file: string, size: number): GgufFile {
  if (reader.u32() !== 0x46554747) throw wrong('This is not a GGUF file.', file)
  const version = reader.u32()
  if (version !== 2 && version !== 3) throw wrong(`The file is of GGUF version ${version}.`, file)
  const tensorCount = reader.u64()
  const valueCount = reader.u64()
  if (tensorCount > 1e6 || valueCount > 1e6) throw wrong('The file claims to hold absurdly much.', file)
  const metadata = new Map<string, unknown>()
  for (let i = 0; i < valueCount; i++) {
    const key = reader.string()
    if (metadata.has(key)) throw wrong(`The file names "${key}" twice.`, file)
    metadata.set(key, reader.value(reader.u32()))
  }
  const found: { name: string; shape: number[]; type: GgmlType; offset: number }[] = []
  for (let i = 0; i < tensorCount; i++) found.push(readInfo(reader, file))
  const alignment = metadata.get('general.alignment') ?? ALIGNMENT
  if (typeof alignment !== 'number' || alignment < 1 || alignment > 1 << 20 || !Number.isInteger(alignment))
    throw wrong('The alignment is not a sensible number.', file)
  const dataStart = Math.ceil(reader.at / alignment) * alignment
  const tensors = new Map<string, GgufInfo>()
  let end = dataStart
  for (const { name, shape, type, offset } of found.sort((a, b) => a.offset - b.offset)) {
    const where = `${file}, tensor ${name}`
    const start = dataStart + offset
    if (tensors.has(name)) throw wrong('The tensor is named twice.', where)
    if (offset % alignment !== 0) throw wrong('The tensor is not aligned.', where)
    if (start < end) throw wrong('Two tensors overlap.', where)
    end = start + byteCount(type, shape)
    if (!(end <= size)) throw truncated(where)
    tensors.set(name, { shape, type, start, end })
  }
  return { file, metadata, tensors }
}

function readInfo(reader: Reader, file: string): { name: string; shape: number[]; type: GgmlType; offset: number } {
  const name = reader.string()
  const where = `${file}, tensor ${name}`
  const dimensions = reader.u32()
  if (dimensions > 4) throw wrong(`The tensor has ${dimensions} dimensions.`, where)
  const shape = Array.from({ length: dimensions }, reader.u64).reverse()
  const id = reader.u32()
  const type = (Object.keys(GGML_TYPES) as GgmlType[]).find((one) => GGML_TYPES[one].id === id)
  if (!type)
    throw new CodedError('model.unsupported', `The tensor is packed in a way (type ${id}) that cannot be read here.`, {
      where,
      fix: `Use a file with ${Object.keys(GGML_TYPES).join(', ')}.`,
    })
  const bytes = byteCount(type, shape)
  if (!Number.isSafeInteger(bytes)) throw wrong('The shape is absurd, or no multiple of the block size.', where)
  return { name, shape, type, offset: reader.u64() }
}

/** One tensor's values as floats. Throws CodedError `model.tensors`, `model.truncated`. */
export async function readGgufTensor(source: FileSource, gguf: GgufFile, name: string): Promise<Float32Array> {
  const info = gguf.tensors.get(name)
  if (!info)
    throw new CodedError('model.tensors', 'The tensor is not in the file.', {
      where: `${gguf.file}, tensor ${name}`,
      fix: 'Take the file from the place that the model came from.',
    })
  const bytes = await source.read(gguf.file, info.start, info.end)
  if (bytes.length !== info.end - info.start) throw truncated(gguf.file)
  return decodeTensor(info.type, bytes)
}
