/**
 * How fast datasets are read, and in how much memory: `npx tsx tests/bench/import.ts [megabytes]`. The rows go to a sink, as in the
 * page, where they go to the store. Refuses to measure disks: the bytes are made as they are read.
 */
import { importFile } from '../../src/data'

const TEXT = 'Some words of an answer, as long as those that people write. '.repeat(12)
const ROW = JSON.stringify({ instruction: 'Explain this in a few words', input: '', output: TEXT })
const FILES: Record<string, { head: string; row: string; tail: string }> = {
  jsonl: { head: '', row: `${ROW}\n`, tail: '' },
  json: { head: `[${ROW}\n`, row: `,${ROW}\n`, tail: ']' },
  csv: { head: 'prompt,completion\n', row: `Explain this in a few words,"${TEXT}"\n`, tail: '' },
}

function source(kind: string, size: number): ReadableStream<Uint8Array> {
  const { head, row, tail } = FILES[kind] as (typeof FILES)[string]
  const encoder = new TextEncoder()
  const piece = encoder.encode(row.repeat(Math.ceil(65536 / row.length)))
  let sent = 0
  return new ReadableStream({
    start: (controller) => {
      if (head) controller.enqueue(encoder.encode(head))
    },
    pull(controller) {
      if (sent < size) {
        controller.enqueue(piece)
        sent += piece.length
        return
      }
      if (tail) controller.enqueue(encoder.encode(tail))
      controller.close()
    },
  })
}

async function main(): Promise<void> {
  const size = Number(process.argv[2] ?? 200) * 1e6
  for (const kind of Object.keys(FILES)) {
    let peak = 0
    const began = performance.now()
    const { count, problems } = await importFile(
      { name: `bench.${kind}`, stream: source(kind, size), size },
      undefined,
      undefined,
      () => {
        peak = Math.max(peak, process.memoryUsage().rss)
      },
    )
    const seconds = (performance.now() - began) / 1000
    const speed = (size / 1e6 / seconds).toFixed(0)
    console.log(
      `${kind}: ${count} rows, ${problems.length} problems, ${speed} MB/s, peak ${(peak / 1e6).toFixed(0)} MB of memory`,
    )
  }
}

void main()
