/**
 * safetensors files (https://huggingface.co/docs/safetensors): a header that is believed only after every number in it is checked, and
 * tensors that are read one by one by range. Refuses headers that lie with `model.header` and files that end too early with
 * `model.truncated`.
 */
import { CodedError } from '../../shared/errors'
import type { FileSource } from '../../shared/files'
import type { TensorData } from '../../shared/records'
import { isObject } from '../../shared/json'
import { bfloatsToFloats, floatsToBfloats, floatsToHalves, halvesToFloats } from './float16'
import { findDuplicateKey } from './json-keys'

/** Bytes of an element of every type that the format knows and that fills whole bytes. */
const SIZES: Readonly<Record<string, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  F8_E4M3FNUZ: 1,
  F8_E5M2FNUZ: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
  C64: 8,
}
/** What {@link readTensor} hands out. */
const READABLE: readonly string[] = ['F32', 'F16', 'BF16', 'I32', 'I64', 'U8'] satisfies TensorData['dtype'][]
/** As in the reference implementation. */
const MAX_HEADER = 100_000_000

/** One tensor in a file. */
export interface TensorInfo {
  /** Any type of the format; not all can be read. */
  readonly dtype: string
  readonly shape: readonly number[]
  /** Absolute byte range in the file. */
  readonly start: number
  readonly end: number
}

/** A checked header. */
export interface SafetensorsHeader {
  readonly file: string
  readonly tensors: ReadonlyMap<string, TensorInfo>
  readonly metadata: Readonly<Record<string, string>>
}

function headerError(what: string, where: string, cause?: unknown): CodedError {
  return new CodedError('model.header', what, {
    where,
    fix: 'The file is damaged or is not a safetensors file: download or export it again.',
    cause,
  })
}

function truncated(where: string, claimed: number, size: number): CodedError {
  const bytes = (value: number) => value.toLocaleString('en')
  return new CodedError('model.truncated', `The file should have ${bytes(claimed)} bytes and has ${bytes(size)}.`, {
    where,
    fix: 'The download or copy was cut off: fetch the file again.',
  })
}

/** Reads and checks a header. Throws CodedError `model.header`, `model.truncated`, `file.missing`. */
export async function readSafetensorsHeader(source: FileSource, name: string): Promise<SafetensorsHeader> {
  const size = (await source.list()).find((file) => file.name === name)?.size
  if (size === undefined)
    throw new CodedError('file.missing', `There is no ${name}.`, { where: name, fix: 'Pick the whole folder.' })
  if (size < 8) throw truncated(name, 8, size)
  const lead = await source.read(name, 0, 8)
  if (lead.length < 8) throw truncated(name, 8, lead.length)
  const length = new DataView(lead.buffer, lead.byteOffset, 8).getBigUint64(0, true)
  const start = new TextDecoder().decode(lead).toLowerCase()
  if (start === 'version ' || start.startsWith('<!doc') || start.startsWith('<html'))
    throw standIn(name, start[0] === 'v')
  if (length > BigInt(MAX_HEADER) || length < 2n)
    throw headerError(`The header claims to be ${length} bytes long.`, name)
  const dataStart = 8 + Number(length)
  if (dataStart > size) throw truncated(name, dataStart, size)
  const bytes = await source.read(name, 8, dataStart)
  if (bytes.length < Number(length)) throw truncated(name, dataStart, 8 + bytes.length)
  return parseHeader(bytes, name, dataStart, size)
}

/** What a clone without Git LFS, or a download without access, leaves in place of weights. */
function standIn(name: string, isPointer: boolean): CodedError {
  const what = isPointer ? 'This is a Git LFS pointer, not the weights.' : 'This is a web page, not the weights.'
  const fix = isPointer
    ? 'Fetch the weights with "git lfs pull" in that folder, or download the file itself.'
    : 'Download the file itself; where the model asks for it, sign in first.'
  return new CodedError('model.header', what, { where: name, fix })
}

function parseHeader(bytes: Uint8Array, file: string, dataStart: number, size: number): SafetensorsHeader {
  let text: string
  let json: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    json = JSON.parse(text)
  } catch (cause) {
    throw headerError('The header is not valid JSON.', file, cause)
  }
  if (!text.startsWith('{') || !isObject(json)) throw headerError('The header is not a JSON object.', file)
  const twice = findDuplicateKey(text)
  if (twice !== null) throw headerError(`The header names "${twice}" twice.`, file)

  const tensors = new Map<string, TensorInfo>()
  let metadata: Record<string, string> = {}
  for (const [name, entry] of Object.entries(json)) {
    if (name === '__metadata__') metadata = checkMetadata(entry, file)
    else tensors.set(name, checkEntry(name, entry, file, dataStart))
  }
  checkLayout(tensors, file, dataStart, size)
  return { file, tensors, metadata }
}

function checkMetadata(entry: unknown, file: string): Record<string, string> {
  if (!isObject(entry) || Object.values(entry).some((value) => typeof value !== 'string'))
    throw headerError('The metadata is not a list of texts.', file)
  return entry as Record<string, string>
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function checkEntry(name: string, entry: unknown, file: string, dataStart: number): TensorInfo {
  const where = `${file}, tensor ${name}`
  if (!isObject(entry)) throw headerError('A tensor has no description.', where)
  const { dtype, shape, data_offsets: offsets } = entry
  const width = typeof dtype === 'string' && Object.hasOwn(SIZES, dtype) ? SIZES[dtype] : undefined
  if (width === undefined) throw headerError(`The type ${JSON.stringify(dtype)} is not known.`, where)
  if (!Array.isArray(shape) || !shape.every(isCount)) throw headerError('The shape is not a list of sizes.', where)
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    throw headerError('The byte range is not two numbers.', where)
  const [begin, end] = offsets as [number, number]
  const bytes = shape.reduce((product: number, size: number) => product * size, width)
  if (!Number.isSafeInteger(bytes)) throw headerError('The shape is absurdly large.', where)
  if (end - begin !== bytes)
    throw headerError(`The shape [${shape.join(', ')}] takes ${bytes} bytes, the byte range has ${end - begin}.`, where)
  return { dtype: dtype as string, shape: shape as number[], start: dataStart + begin, end: dataStart + end }
}

/** Tensors lie one behind the other, without holes or overlaps, up to the end of the file. */
function checkLayout(tensors: ReadonlyMap<string, TensorInfo>, file: string, dataStart: number, size: number): void {
  const inOrder = [...tensors].sort(([, a], [, b]) => a.start - b.start || a.end - b.end)
  let at = dataStart
  for (const [name, { start, end }] of inOrder) {
    if (start < at) throw headerError('Two tensors overlap.', `${file}, tensor ${name}`)
    if (start > at) throw headerError('There is a hole before a tensor.', `${file}, tensor ${name}`)
    at = end
  }
  if (at > size) throw truncated(file, at, size)
  if (at < size) throw headerError(`${size - at} bytes at the end of the file belong to no tensor.`, file)
}

/**
 * One tensor's bytes. Throws CodedError `model.tensors` for a name that is not there or a type that cannot be used, `model.truncated`.
 */
export async function readTensor(
  source: FileSource,
  header: SafetensorsHeader,
  tensorName: string,
): Promise<TensorData> {
  const where = `${header.file}, tensor ${tensorName}`
  const info = header.tensors.get(tensorName)
  if (!info)
    throw new CodedError('model.tensors', 'The tensor is not in the file.', {
      where,
      fix: 'Take all files of the model from the same place and revision.',
    })
  if (!READABLE.includes(info.dtype))
    throw new CodedError('model.tensors', `Tensors of type ${info.dtype} cannot be used here.`, {
      where,
      fix: 'Save the model as float32, float16 or bfloat16 (in transformers: model.to(torch.bfloat16).save_pretrained).',
    })
  const bytes = await source.read(header.file, info.start, info.end)
  if (bytes.length !== info.end - info.start) throw truncated(header.file, info.end, info.start + bytes.length)
  return { dtype: info.dtype as TensorData['dtype'], shape: [...info.shape], bytes }
}

/**
 * A tensor's values as floats. F32 bytes that own their memory are not copied: the result may be the tensor's own memory.
 * Throws CodedError `model.tensors` for types that are not floats.
 */
export function toFloat32(tensor: TensorData): Float32Array {
  const { dtype, bytes } = tensor
  switch (dtype) {
    case 'F32': {
      const own = bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength
      return new Float32Array(own ? bytes.buffer : bytes.slice().buffer)
    }
    case 'F16':
      return halvesToFloats(words(bytes))
    case 'BF16':
      return bfloatsToFloats(words(bytes))
    default:
      throw new CodedError('model.tensors', `Tensors of type ${dtype} do not hold real numbers.`, {
        fix: 'Use a model that is saved as float32, float16 or bfloat16.',
      })
  }
}

/** Floats as a tensor of a type, rounded to nearest even. F32 shares memory with `values`. */
export function fromFloat32(values: Float32Array, shape: readonly number[], dtype: 'F32' | 'F16' | 'BF16'): TensorData {
  const stored = dtype === 'F32' ? values : dtype === 'F16' ? floatsToHalves(values) : floatsToBfloats(values)
  const bytes = new Uint8Array(stored.buffer as ArrayBuffer, stored.byteOffset, stored.byteLength)
  return { dtype, shape: [...shape], bytes }
}

/** Bytes as 16-bit words; copied only where they do not lie on an even address. */
function words(bytes: Uint8Array): Uint16Array {
  const even = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice()
  return new Uint16Array(even.buffer, even.byteOffset, even.byteLength >> 1)
}

/** Bytes that a tensor of this type and shape takes. */
export function byteLength(dtype: TensorData['dtype'], shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, SIZES[dtype] as number)
}

/** What a file to be written will hold. */
interface SafetensorsPlan {
  /** Length, header and padding: the bytes before the first tensor. */
  readonly head: Uint8Array
  /** The order in which tensors follow. */
  readonly order: readonly string[]
  /** Bytes of the whole file. */
  readonly size: number
}

/**
 * The head of a file, so that tensors can be written one by one behind it. Wide types first, then by name, as the reference
 * implementation does; data begin at a multiple of 8.
 */
export function planSafetensors(
  tensors: Readonly<Record<string, Pick<TensorData, 'dtype' | 'shape'>>>,
  metadata?: Readonly<Record<string, string>>,
): SafetensorsPlan {
  const width = (dtype: string) => SIZES[dtype] as number
  const order = Object.keys(tensors).sort((a, b) => {
    const wider = width(tensors[b]!.dtype) - width(tensors[a]!.dtype)
    return wider || (a < b ? -1 : 1)
  })
  const entries: [string, unknown][] = metadata ? [['__metadata__', metadata]] : []
  let at = 0
  for (const name of order) {
    const { dtype, shape } = tensors[name]!
    const bytes = byteLength(dtype, shape)
    entries.push([name, { dtype, shape, data_offsets: [at, at + bytes] }])
    at += bytes
  }
  const json = new TextEncoder().encode(
    `{${entries.map((pair) => pair.map((one) => JSON.stringify(one)).join(':')).join(',')}}`,
  )
  const length = Math.ceil(json.length / 8) * 8
  const head = new Uint8Array(8 + length).fill(0x20)
  new DataView(head.buffer).setBigUint64(0, BigInt(length), true)
  head.set(json, 8)
  return { head, order, size: head.length + at }
}

/** A whole file in memory. Throws Error where a tensor's bytes do not fit its shape. */
export function writeSafetensors(
  tensors: Readonly<Record<string, TensorData>>,
  metadata?: Readonly<Record<string, string>>,
): Uint8Array {
  const { head, order, size } = planSafetensors(tensors, metadata)
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    if (byteLength(dtype, shape) !== bytes.length) throw new Error(`the bytes of ${name} do not fit its shape`)
  }
  const file = new Uint8Array(size)
  file.set(head)
  let at = head.length
  for (const name of order) {
    const { bytes } = tensors[name]!
    file.set(bytes, at)
    at += bytes.length
  }
  return file
}

/** Bits of the exponent, which are all set in NaN and Inf. */
const EXPONENTS = { F32: 0x7f800000, F16: 0x7c00, BF16: 0x7f80 } as const

/** The position of the first NaN or Inf of a tensor, without converting it; -1 where all are finite, or no floats. */
export function firstNotFinite({ dtype, bytes }: TensorData): number {
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16') return -1
  const size = dtype === 'F32' ? 4 : 2
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice()
  const count = Math.floor(aligned.length / size)
  const words = size === 4 ? new Uint32Array(aligned.buffer, aligned.byteOffset, count) : new Uint16Array(aligned.buffer, aligned.byteOffset, count) // prettier-ignore
  const mask = EXPONENTS[dtype]
  for (let i = 0; i < count; i++) if (((words[i] as number) & mask) === mask) return i
  return -1
}
