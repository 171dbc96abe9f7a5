/**
 * How fast datasets are read and turned into tokens, and in how much memory: `npm run bench -- import [megabytes] [--json] [--docs]`.
 * Each measurement has a process of its own; rows go to a sink, as in the page, where they go to the store. Refuses to measure
 * disks: the bytes are made as they are read.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { format } from 'prettier'
import { detectFormat, importFile, type RawRow } from '../../src/data'
import { encodeRow } from '../../src/data/prepare'
import { folderSource } from '../../src/cli/folder'
import { loadTokenizer } from '../../src/engine/tokenizer'
import { loadChatTemplate } from '../../src/engine/tokenizer/chat-template'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const SAMPLES = ['everyday-stories', 'ships-computer', 'night-train', 'order-json']
const TEXT = 'Some words of an answer, as long as those that people write. '.repeat(12)
const ROW = JSON.stringify({ instruction: 'Explain this in a few words', input: '', output: TEXT })
const FILES: Record<string, { head: string; row: string; tail: string }> = {
  jsonl: { head: '', row: `${ROW}\n`, tail: '' },
  json: { head: `[${ROW}\n`, row: `,${ROW}\n`, tail: ']' },
  csv: { head: 'prompt,completion\n', row: `Explain this in a few words,"${TEXT}"\n`, tail: '' },
}

interface Measured {
  what: string
  megabytes: number
  rows: number
  /** MB of the file a second, MB being 10^6 bytes. */
  speed: number
  /** The same by the processor's time, which other work on the machine does not take from. */
  own: number
  /** MB of the whole process at its largest, less what it had before it began. */
  peak: number
  /** MB of the whole process at its largest. */
  process: number
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

async function measureImport(kind: string, size: number): Promise<Measured> {
  const before = process.memoryUsage().rss
  let largest = before
  const began = clocks()
  const input = { name: `bench.${kind}`, stream: source(kind, size), size }
  const { count, problems } = await importFile(input, undefined, undefined, () => {
    largest = Math.max(largest, process.memoryUsage().rss)
  })
  if (problems.length > 0) throw new Error(`${problems.length} problems in ${kind}`)
  return measured(`reading ${kind}`, size, count, began, before, largest)
}

/** Rows of the samples through the bundled model's template and tokenizer, in one worker's thread. */
async function measureTokens(size: number): Promise<Measured> {
  const folder = await folderSource(join(ROOT, 'public/models/stories-3m'))
  const tokenizer = await loadTokenizer(folder)
  const template = await loadChatTemplate(folder, tokenizer)
  const sets = SAMPLES.map((name) => {
    const text = readFileSync(join(ROOT, `public/datasets/${name}.jsonl`), 'utf8')
    const rows = text.split('\n').filter(Boolean).map((line) => JSON.parse(line) as RawRow) // prettier-ignore
    return { rows, mapping: detectFormat(rows).mapping, bytes: Buffer.byteLength(text) }
  })
  const before = process.memoryUsage().rss
  let largest = before
  let [done, count] = [0, 0]
  const began = clocks()
  while (done < size) {
    for (const { rows, mapping, bytes } of sets) {
      for (const row of rows) encodeRow(row, mapping, tokenizer, template, { maxLength: 512, trainOn: 'completion' })
      done += bytes
      count += rows.length
      largest = Math.max(largest, process.memoryUsage().rss)
    }
  }
  return measured('turning rows into tokens', done, count, began, before, largest)
}

function measured(what: string, bytes: number, rows: number, began: Clocks, before: number, largest: number): Measured {
  const mb = (value: number) => Math.round(value / 1e6)
  const now = clocks()
  const rate = (seconds: number) => Number((bytes / 1e6 / seconds).toPrecision(3))
  const [speed, own] = [rate(now.wall - began.wall), rate(now.processor - began.processor)]
  return { what, megabytes: mb(bytes), rows, speed, own, peak: mb(largest - before), process: mb(largest) }
}

/** Seconds: of the wall, and of the processor over all threads of this process. */
interface Clocks {
  wall: number
  processor: number
}

function clocks(): Clocks {
  const { user, system } = process.cpuUsage()
  return { wall: performance.now() / 1000, processor: (user + system) / 1e6 }
}

/** One measurement in a process of its own. */
function apart(kind: string, megabytes: number): Measured {
  const argv = ['--import', 'tsx', fileURLToPath(import.meta.url), '--one', kind, String(megabytes)]
  const child = spawnSync(process.execPath, argv, { cwd: ROOT, encoding: 'utf8' })
  if (child.status !== 0) throw new Error(child.stderr)
  return JSON.parse(child.stdout) as Measured
}

function document(results: readonly Measured[], loads: string): Promise<string> {
  const rows = results.map(
    ({ what, megabytes, rows, speed, own, peak, process: whole }) =>
      `| ${what} | ${megabytes.toLocaleString('en')} MB | ${rows.toLocaleString('en')} | ${speed} MB/s | ${own} MB/s | ${peak} MB | ${whole} MB |`,
  )
  const [first] = cpus()
  return format(
    `# How fast data are read\n\nWritten by \`npm run bench -- import --docs\` on ${first?.model.trim() ?? 'an unknown processor'}, ` +
      `one thread, Node ${process.versions.node}; ${loads}. MB are 10⁶ bytes. Rows go on as they come, so memory does not grow with the ` +
      'file; of the process, about half is the program itself.\n\n' +
      `| what | size | rows | by the clock | by processor time | memory on top | whole process |\n| --- | --: | --: | --: | --: | --: | --: |\n${rows.join('\n')}\n`,
    { parser: 'markdown', printWidth: 120 },
  )
}

async function main(): Promise<void> {
  const argv = process.argv.slice(2)
  if (argv[0] === '--one') {
    const [, kind = '', size = ''] = argv
    const result = kind === 'tokens' ? measureTokens(Number(size) * 1e6) : measureImport(kind, Number(size) * 1e6)
    process.stdout.write(JSON.stringify(await result))
    return
  }
  const size = Number(argv.find((word) => /^\d+$/.test(word)) ?? 200)
  const results: Measured[] = []
  const plan: [string, number][] = [...Object.keys(FILES).map((kind): [string, number] => [kind, size]), ['jsonl', 5 * size], ['tokens', size / 20]] // prettier-ignore
  const load = loadavg()[0] ?? 0
  for (const [kind, megabytes] of plan) {
    const result = apart(kind, megabytes)
    results.push(result)
    if (!argv.includes('--json'))
      console.log(
        `${result.what}: ${result.rows} rows, ${result.speed} MB/s (${result.own} by processor time), ${result.peak} MB on top, ${result.process} MB in all`,
      )
  }
  if (argv.includes('--json')) console.log(JSON.stringify(results))
  const busy =
    load > 1
      ? `other work kept the machine busy (load ${load.toFixed(0)} on ${cpus().length} cores), so these are low`
      : 'nothing else ran'
  if (argv.includes('--docs')) writeFileSync(join(ROOT, 'docs/data-speed.md'), await document(results, busy))
}

void main()
