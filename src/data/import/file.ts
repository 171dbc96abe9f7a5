/**
 * A file to rows, as a stream: kind, parser, problems, recognition. Refuses files without rows; a bad row never stops it.
 */
import { CodedError } from '../../shared/errors'
import type { OnProgress } from '../../shared/files'
import { cancelled } from '../cancel'
import { detectFormat } from '../formats/detect'
import type { FileKind, ImportedData, ImportSource } from '../types'
import { Collector, type RowSink, type TextParser } from './collector'
import { CsvParser } from './csv'
import { Decoder } from './decode'
import { JsonArrayParser } from './json-array'
import { JsonDocumentParser, notJson } from './json-document'
import { JsonlParser } from './jsonl'
import { readParquet } from './parquet'
import { PassageParser } from './passages'
import { isGzip, isParquet, kindByName, readingOf, refuseKnown, type Reading } from './sniff'

/** Share of rows with bytes that are no UTF-8 above which the whole file is taken to be in another encoding. */
const MOST_DAMAGED = 0.1
/** Text looked at before the parser is chosen. */
const LOOK = 256 * 1024

/**
 * Reads a dataset file.
 * @param sink takes the rows in batches as they come; then `rows` of the result is empty, and memory stays small whatever the size.
 * @throws CodedError `data.not-utf8`, `data.empty`, `data.not-json`, `data.columns`, `file.unreadable`, `file.too-large`, `cancelled`.
 */
export async function importFile(
  input: ImportSource,
  onProgress?: OnProgress,
  signal?: AbortSignal,
  sink?: RowSink,
): Promise<ImportedData> {
  const out = new Collector(sink)
  const chunks = readChunks(input, onProgress, signal)
  const head = await chunks.next()
  const first = head.done ? new Uint8Array(0) : head.value
  const all = prepend(first, chunks)
  if (isParquet(first)) {
    const { size, slice } = input
    // Its index lies at the end: with ranges, one row group is held at a time.
    const file = slice ? { byteLength: size, slice } : await gather(all)
    if (slice) await chunks.return(undefined)
    await readParquet(file, input.name, out, onProgress, signal)
    await out.flush(true)
    return conclude(input.name, 'parquet', out, '')
  }
  refuseKnown(input.name, first)
  const reading = await readText(input.name, all, out)
  await out.flush(true)
  return conclude(input.name, reading.kind, out, reading.note, reading.json)
}

interface TextResult {
  kind: FileKind
  note: string
  json: boolean
}

async function readText(name: string, chunks: AsyncIterable<Uint8Array>, out: Collector): Promise<TextResult> {
  const decoder = new Decoder(name)
  const promised = kindByName(name)
  let parser: TextParser | undefined
  let reading: Reading | undefined
  let head = ''
  for await (const chunk of chunks) {
    let text = decoder.push(chunk)
    out.suspect ||= decoder.fault !== undefined
    if (!parser) {
      head += text
      if (head.length < LOOK) continue
      reading = readingOf(promised, head, false)
      parser = makeParser(reading, name, out)
      text = head
    }
    parser.push(text)
    await out.flush()
  }
  const rest = decoder.end()
  out.suspect ||= decoder.fault !== undefined
  if (!parser) {
    head += rest
    if (head.trim() === '') throw empty(name)
    reading = readingOf(promised, head, true)
    parser = makeParser(reading, name, out)
    parser.push(head)
  } else parser.push(rest)
  parser.end()
  if (decoder.fault && (out.count === 0 || out.damaged > MOST_DAMAGED * (out.count + out.problems.length)))
    throw decoder.fault
  return {
    kind: kindOf(reading as Reading),
    note: noteOf(parser),
    json: ['lines', 'list', 'document'].includes(reading as Reading),
  }
}

function makeParser(reading: Reading, name: string, out: Collector): TextParser {
  switch (reading) {
    case 'lines':
      return new JsonlParser(out)
    case 'list':
      return new JsonArrayParser(out)
    case 'document':
      return new JsonDocumentParser(out, name)
    case 'table':
      return new CsvParser(out, name)
    case 'text':
    case 'markdown':
      return new PassageParser(out, reading === 'markdown')
  }
}

function kindOf(reading: Reading): FileKind {
  const kinds = {
    lines: 'jsonl',
    list: 'json',
    document: 'json',
    table: 'csv',
    text: 'text',
    markdown: 'markdown',
  } as const
  return kinds[reading]
}

function noteOf(parser: TextParser): string {
  if (parser instanceof JsonDocumentParser && parser.note) return ` The rows were found ${parser.note}.`
  if (parser instanceof CsvParser && parser.headless) return ' The table has no header, so its columns are numbered.'
  if (parser instanceof PassageParser)
    return parser.lines ? ' Each line is a row.' : ' Paragraphs were gathered to passages.'
  return ''
}

function conclude(name: string, kind: FileKind, out: Collector, note: string, json = false): ImportedData {
  if (out.count === 0) {
    const [problem] = out.problems
    if (!problem) throw kind === 'csv' ? headerOnly(name) : empty(name)
    if (json) throw notJson(name, { line: problem.line, column: problem.column ?? 1 }, problem.reason)
    throw new CodedError('data.row', `No row can be read: ${problem.reason}`, {
      where: `${name}, line ${problem.line}`,
      fix: 'Mend the file, or save it again as JSON Lines or CSV.',
    })
  }
  const { mapping, why } = detectFormat(out.sample)
  const { rows, count, problems } = out
  return { kind, rows, count, problems, columns: out.columns(), mapping, why: why + note }
}

function empty(name: string): CodedError {
  return new CodedError('data.empty', 'The file is empty.', { where: name, fix: 'Choose a file with examples in it.' })
}

function headerOnly(name: string): CodedError {
  return new CodedError('data.empty', 'The table has a header and no rows.', {
    where: name,
    fix: 'Write the examples below the header, one a line.',
  })
}

/** Pieces of a stream, unpacked where it is gzip, with progress in bytes of the file. */
async function* readChunks(
  input: ImportSource,
  onProgress?: OnProgress,
  signal?: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let done = 0
  const counted = new TransformStream<Uint8Array, Uint8Array>({
    transform(chunk, controller) {
      done += chunk.length
      onProgress?.({ stage: `Reading ${input.name}`, done, total: input.size, unit: 'bytes' })
      controller.enqueue(chunk)
    },
  })
  const stream = input.stream.pipeThrough(counted)
  const reader = stream.getReader()
  let source: ReadableStreamDefaultReader<Uint8Array> = reader
  try {
    const first = await reader.read()
    if (signal?.aborted) throw cancelled()
    if (first.done) return
    if (isGzip(first.value)) source = unpack(first.value, reader, input.name)
    else yield first.value
    for (;;) {
      const { done: ended, value } = await source.read()
      if (signal?.aborted) throw cancelled()
      if (ended) return
      if (value.length > 0) yield value
    }
  } finally {
    await source.cancel().catch(() => undefined)
  }
}

function unpack(
  first: Uint8Array,
  rest: ReadableStreamDefaultReader<Uint8Array>,
  name: string,
): ReadableStreamDefaultReader<Uint8Array> {
  const packed = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start: (controller) => controller.enqueue(first as Uint8Array<ArrayBuffer>),
    async pull(controller) {
      const { done, value } = await rest.read()
      if (done) controller.close()
      else controller.enqueue(value as Uint8Array<ArrayBuffer>)
    },
    cancel: (reason) => rest.cancel(reason),
  })
  const reader = packed.pipeThrough(new DecompressionStream('gzip')).getReader()
  const read = reader.read.bind(reader)
  reader.read = (() =>
    read().catch((error: unknown) => {
      throw new CodedError('file.unreadable', 'The packed file is damaged.', {
        where: name,
        fix: 'Download it again.',
        cause: error,
      })
    })) as typeof reader.read
  return reader
}

async function* prepend(first: Uint8Array, rest: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (first.length > 0) yield first
  yield* rest
}

async function gather(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const chunk of chunks) {
    parts.push(chunk)
    length += chunk.length
  }
  const all = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
