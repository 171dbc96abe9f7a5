/**
 * Reads GGUF files of versions 2 and 3, with every number in the head checked before it is believed. Refuses packings that are not listed in
 * ggml-types.
 */
import { CodedError } from '../../shared/errors'
import type { FileSource } from '../../shared/files'
import { byteCount, decodeTensor, GGML_TYPES, type GgmlType } from './ggml-types'
import { ALIGNMENT, MAGIC } from './gguf-write'

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
  if (reader.u32() !== MAGIC) throw wrong('This is not a GGUF file.', file)
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
