/**
 * Reads zip archives as folders. Refuses archives that climb out of their folder, that are encrypted or damaged, and that would unpack
 * to far more than they say or than is sensible.
 */
import { CodedError } from '../../shared/errors'
import type { FileSource } from '../../shared/files'

/** What unpacking may cost. */
interface ZipLimits {
  /** Bytes of all files together. */
  total: number
  /** Unpacked size of a file over its packed size; counts only for files above 16 MiB, since small ones do no harm. */
  ratio: number
  files: number
}
export const ZIP_LIMITS: ZipLimits = { total: 4 * 2 ** 30, ratio: 200, files: 10_000 }

/** What unpacking may cost where it is not kept in memory. */
const STREAM_LIMITS: ZipLimits = { ...ZIP_LIMITS, total: 64 * 2 ** 30 }

interface Entry {
  name: string
  /** 0 stored, 8 deflated. */
  method: number
  packed: number
  size: number
  crc: number
  /** Where its local header begins. */
  at: number
}

const SMALL = 16 * 2 ** 20
/** Bytes that are looked at in one piece. */
const PIECE = 2 ** 20

function damaged(what: string, where = 'zip', cause?: unknown): CodedError {
  return new CodedError('file.unreadable', what, {
    where,
    fix: 'Make the zip again, or unpack it yourself and pick the folder.',
    cause,
  })
}

function tooLarge(what: string, where = 'zip'): CodedError {
  return new CodedError('file.too-large', what, {
    where,
    fix: 'If you trust the zip, unpack it yourself and pick the folder.',
  })
}

/**
 * An archive as a folder; files are checked when they are first read, and packed ones kept.
 * Throws CodedError `file.unreadable`, `file.too-large`; reading may throw them too.
 */
export async function readZip(zip: Uint8Array | Blob, limits: ZipLimits = ZIP_LIMITS): Promise<FileSource> {
  const blob = zip instanceof Blob ? zip : new Blob([zip as Uint8Array<ArrayBuffer>])
  const entries = await readDirectory(blob, limits)
  checkSizes(entries, blob.size, limits)
  const unpacked = new Map<string, Promise<Uint8Array>>()
  const checked = new Map<string, Promise<Blob>>()
  return {
    list: async () => [...entries.values()].map(({ name, size }) => ({ name, size })),
    async read(name, start = 0, end) {
      const entry = entries.get(name)
      if (!entry)
        throw new CodedError('file.missing', `There is no ${name} in the zip.`, {
          where: name,
          fix: 'Check that you picked the right zip.',
        })
      // What is stored as it stands is read where it lies, so that a file larger than memory can be.
      if (entry.method === 0) {
        let whole = checked.get(name)
        if (!whole) checked.set(name, (whole = checkStored(blob, entry)))
        return new Uint8Array(await (await whole).slice(start, end).arrayBuffer())
      }
      let whole = unpacked.get(name)
      if (!whole) unpacked.set(name, (whole = unpack(blob, entry)))
      return (await whole).slice(start, end)
    },
  }
}

/** A file of an archive, unpacked as it is read. */
interface ZipFile {
  name: string
  size: number
  open(): ReadableStream<Uint8Array>
}

/**
 * The files of an archive as streams, so that one larger than memory can be read; each is checked when it ends.
 * Throws CodedError as {@link readZip} does; so do the streams.
 */
export async function zipFiles(blob: Blob, limits: ZipLimits = STREAM_LIMITS): Promise<ZipFile[]> {
  const entries = await readDirectory(blob, limits)
  checkSizes(entries, blob.size, limits)
  return [...entries.values()].map((entry) => ({
    name: entry.name,
    size: entry.size,
    open: () => unpackStream(blob, entry),
  }))
}

/** The same folder seen from the place where `file` is: zips often hold one folder. The shallowest place wins. */
export async function enterFolder(source: FileSource, file: string): Promise<FileSource> {
  const names = (await source.list()).map(({ name }) => name)
  const found = names
    .filter((name) => name === file || name.endsWith(`/${file}`))
    .sort((a, b) => a.split('/').length - b.split('/').length || (a < b ? -1 : 1))[0]
  const prefix = found?.slice(0, found.length - file.length) ?? ''
  if (prefix === '') return source
  return {
    list: async () =>
      (await source.list())
        .filter(({ name }) => name.startsWith(prefix))
        .map(({ name, size }) => ({ name: name.slice(prefix.length), size })),
    read: (name, start, end) => source.read(prefix + name, start, end),
  }
}

async function view(blob: Blob, start: number, end: number): Promise<DataView> {
  if (start < 0 || end > blob.size || start > end) throw damaged('The zip ends too early.')
  return new DataView(await blob.slice(start, end).arrayBuffer())
}

/** The central directory: the list at the end that says what is inside. */
async function readDirectory(blob: Blob, limits: ZipLimits): Promise<Map<string, Entry>> {
  const { at, size, count } = await findDirectory(blob)
  if (count > limits.files) throw tooLarge(`The zip holds ${count} files.`)
  const data = await view(blob, at, at + size)
  const entries = new Map<string, Entry>()
  let offset = 0
  for (let i = 0; i < count; i++) {
    if (offset + 46 > data.byteLength || data.getUint32(offset, true) !== 0x02014b50)
      throw damaged('The list of files in the zip is damaged.')
    const nameLength = data.getUint16(offset + 28, true)
    const extraLength = data.getUint16(offset + 30, true)
    const next = offset + 46 + nameLength + extraLength + data.getUint16(offset + 32, true)
    if (next > data.byteLength) throw damaged('The list of files in the zip is damaged.')
    const entry = readEntry(data, offset, nameLength, extraLength)
    offset = next
    if (entry.name.endsWith('/') || entry.name.startsWith('__MACOSX/')) continue
    if (entries.has(entry.name)) throw damaged('A file is in the zip twice.', entry.name)
    entries.set(entry.name, entry)
  }
  return entries
}

async function findDirectory(blob: Blob): Promise<{ at: number; size: number; count: number }> {
  const start = Math.max(0, blob.size - 65_557)
  const tail = await view(blob, start, blob.size)
  for (let i = tail.byteLength - 22; i >= 0; i--) {
    if (tail.getUint32(i, true) !== 0x06054b50) continue
    const count = tail.getUint16(i + 10, true)
    const size = tail.getUint32(i + 12, true)
    const at = tail.getUint32(i + 16, true)
    if (count !== 0xffff && size !== 0xffffffff && at !== 0xffffffff) return { at, size, count }
    return findDirectory64(blob, tail, start, i)
  }
  throw damaged('This is not a zip file.')
}

async function findDirectory64(
  blob: Blob,
  tail: DataView,
  start: number,
  end: number,
): Promise<{ at: number; size: number; count: number }> {
  if (end < 20 || tail.getUint32(end - 20, true) !== 0x07064b50) throw damaged('The end of the zip is damaged.')
  const record = Number(tail.getBigUint64(end - 12, true))
  if (!(record < start + end)) throw damaged('The end of the zip is damaged.')
  const data = await view(blob, record, record + 56)
  if (data.getUint32(0, true) !== 0x06064b50) throw damaged('The end of the zip is damaged.')
  const number = (offset: number) => Number(data.getBigUint64(offset, true))
  return { count: number(32), size: number(40), at: number(48) }
}

function readEntry(data: DataView, offset: number, nameLength: number, extraLength: number): Entry {
  const flags = data.getUint16(offset + 8, true)
  const bytes = new Uint8Array(data.buffer, data.byteOffset + offset + 46, nameLength)
  const name = safeName(new TextDecoder().decode(bytes))
  if (flags & 1) throw damaged('The zip is encrypted.', name)
  const method = data.getUint16(offset + 10, true)
  if (method !== 0 && method !== 8) throw damaged('The zip is packed in a way that cannot be read here.', name)
  const entry: Entry = {
    name,
    method,
    crc: data.getUint32(offset + 16, true),
    packed: data.getUint32(offset + 20, true),
    size: data.getUint32(offset + 24, true),
    at: data.getUint32(offset + 42, true),
  }
  readZip64(entry, data, offset + 46 + nameLength, extraLength)
  return entry
}

/** Sizes that do not fit into 32 bits stand in an extra field, in this order, each only where the plain field is all ones. */
function readZip64(entry: Entry, data: DataView, start: number, length: number): void {
  for (let at = start; at + 4 <= start + length; at += 4 + data.getUint16(at + 2, true)) {
    if (data.getUint16(at, true) !== 1) continue
    const end = Math.min(at + 4 + data.getUint16(at + 2, true), start + length)
    let field = at + 4
    for (const key of ['size', 'packed', 'at'] as const) {
      if (entry[key] !== 0xffffffff) continue
      if (field + 8 > end) throw damaged('The list of files in the zip is damaged.', entry.name)
      entry[key] = Number(data.getBigUint64(field, true))
      field += 8
    }
  }
}

/** A path that stays inside its folder. */
function safeName(name: string): string {
  const path = name.replaceAll('\\', '/')
  const climbs = path.split('/').some((part) => part === '..')
  if (climbs || path.startsWith('/') || /^[A-Za-z]:/.test(path) || path.includes('\0') || path === '')
    throw damaged('The zip holds a path that leads out of its folder.', name)
  return path.replace(/^(\.\/)+/, '')
}

function checkSizes(entries: ReadonlyMap<string, Entry>, size: number, limits: ZipLimits): void {
  let total = 0
  let at = 0
  const inOrder = [...entries.values()].sort((a, b) => a.at - b.at)
  for (const entry of inOrder) {
    // Files that share their packed bytes are how a small zip unpacks to anything.
    if (entry.at < at) throw damaged('Two files in the zip overlap.', entry.name)
    at = entry.at + 30 + entry.packed
    if (at > size) throw damaged('The zip ends too early.', entry.name)
    if (entry.method === 0 && entry.packed !== entry.size) throw damaged('The sizes of a file disagree.', entry.name)
    if (entry.size > SMALL && entry.size > entry.packed * limits.ratio)
      throw tooLarge(
        `A file in the zip would unpack to ${Math.round(entry.size / entry.packed)} times its size, which real data does not.`,
        entry.name,
      )
    total += entry.size
  }
  if (total > limits.total) throw tooLarge(`The zip would unpack to ${(total / 2 ** 30).toFixed(1)} GiB.`)
}

/** The packed bytes of a file. */
async function packedBytes(blob: Blob, entry: Entry): Promise<Blob> {
  const local = await view(blob, entry.at, entry.at + 30)
  if (local.getUint32(0, true) !== 0x04034b50) throw damaged('A file in the zip is damaged.', entry.name)
  const start = entry.at + 30 + local.getUint16(26, true) + local.getUint16(28, true)
  if (start + entry.packed > blob.size) throw damaged('The zip ends too early.', entry.name)
  return blob.slice(start, start + entry.packed)
}

function unpackStream(blob: Blob, entry: Entry): ReadableStream<Uint8Array> {
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined
  let crc = 0
  let size = 0
  const open = async () => {
    const packed = (await packedBytes(blob, entry)).stream()
    return (entry.method === 0 ? packed : packed.pipeThrough(new DecompressionStream('deflate-raw'))).getReader()
  }
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        reader ??= await open()
        const { done, value } = await reader.read()
        if (done) {
          if (size !== entry.size || crc !== entry.crc) throw damaged('A file in the zip is damaged.', entry.name)
          return controller.close()
        }
        size += value.length
        if (size > entry.size) throw tooLarge('A file unpacks to more than the zip says.', entry.name)
        crc = crc32(value, crc)
        controller.enqueue(value)
      } catch (cause) {
        controller.error(
          cause instanceof CodedError ? cause : damaged('A file in the zip is damaged.', entry.name, cause),
        )
      }
    },
    cancel: (reason) => reader?.cancel(reason),
  })
}

/** Where a stored file lies, once its checksum is found right. */
async function checkStored(blob: Blob, entry: Entry): Promise<Blob> {
  const bytes = await packedBytes(blob, entry)
  let crc = 0
  for (let at = 0; at < bytes.size; at += PIECE)
    crc = crc32(new Uint8Array(await bytes.slice(at, at + PIECE).arrayBuffer()), crc)
  if (crc !== entry.crc) throw damaged('A file in the zip is damaged.', entry.name)
  return bytes
}

async function unpack(blob: Blob, entry: Entry): Promise<Uint8Array> {
  const bytes = await inflate(await packedBytes(blob, entry), entry)
  if (crc32(bytes) !== entry.crc) throw damaged('A file in the zip is damaged.', entry.name)
  return bytes
}

/** Unpacks into exactly the size that the directory promised, and not a byte more. */
async function inflate(packed: Blob, entry: Entry): Promise<Uint8Array> {
  const out = new Uint8Array(entry.size)
  let at = 0
  const reader = packed.stream().pipeThrough(new DecompressionStream('deflate-raw')).getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      if (at + value.length > out.length) throw tooLarge('A file unpacks to more than the zip says.', entry.name)
      out.set(value, at)
      at += value.length
    }
  } catch (cause) {
    await reader.cancel().catch(() => undefined)
    if (cause instanceof CodedError) throw cause
    throw damaged('A file in the zip is damaged.', entry.name, cause)
  }
  if (at !== out.length) throw damaged('A file in the zip is damaged.', entry.name)
  return out
}

let crcTable: Uint32Array | null = null

/** The checksum of zip files (CRC-32). @param before that of the bytes that come before. */
export function crc32(bytes: Uint8Array, before = 0): number {
  crcTable ??= Uint32Array.from({ length: 256 }, (_, n) => {
    for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1
    return n
  })
  let crc = ~before
  for (let i = 0; i < bytes.length; i++) crc = (crc >>> 8) ^ (crcTable[(crc ^ (bytes[i] as number)) & 0xff] as number)
  return ~crc >>> 0
}
