/**
 * `npm run bench -- methods [--steps 40] [--only a,b]`: a short real run of every method of scripts/docs/methods.json on the default model
 * and a sample, on wasm; keeps peak memory and speed against LoRA, and the result, for docs/methods.md. Refuses to measure what no row names.
 */
import { existsSync, openAsBlob, readFileSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT } from '../../scripts/setup.mjs'
import { batchesOf, importFiles, mixOf, prepare, type ImportedData } from '../../src/data'
import { createSession, loadModel, openDevice } from '../../src/engine'
import { hostBytes } from '../../src/engine/ops/host-weights'
import { completeJob, type Job } from '../../src/shared/job'
import { diskFolder } from '../support/folder'
import { measurePeak } from '../support/peak'

interface Method {
  id: string
  job: Partial<Job>
  /** The sample that it is measured on; Pebble Bay where left out. */
  sample?: string
}
interface Found {
  bytes: number
  tokensPerSecond: number
  evalLoss: number
  preferred?: number
}

const { values: flags } = parseArgs({ options: { steps: { type: 'string', default: '40' }, only: { type: 'string' } } })
const DATASETS = join(ROOT, 'public/datasets')
const OUT = join(ROOT, 'scripts/docs/methods-measured.json')
const read = <T>(path: string): T => JSON.parse(readFileSync(join(ROOT, path), 'utf8')) as T
const methods = read<Method[]>('scripts/docs/methods.json')
const cards = read<{ id: string; name: string; suggested: Partial<Job> }[]>('public/datasets/index.json')
const sampleOf = ({ sample = 'pebble-bay' }: Method): string => sample

async function dataset(name: string): Promise<ImportedData> {
  const blob = await openAsBlob(join(DATASETS, `${name}.jsonl`))
  return importFiles([{ name: `${name}.jsonl`, size: blob.size, open: () => blob.stream() }])
}

/** The sample's rows; for KTO each answer of a pair is a row of its own, rated. */
async function rowsOf(sample: string, job: Job): Promise<ImportedData> {
  const data = await dataset(sample)
  if (job.objective !== 'kto') return data
  const rated = data.rows.flatMap((row) =>
    (['chosen', 'rejected'] as const).map((side) => ({
      prompt: text(row.prompt),
      completion: text(row[side]),
      label: side === 'chosen',
    })),
  )
  const lines = new Blob([rated.map((row) => JSON.stringify(row)).join('\n')])
  return importFiles([{ name: 'rated.jsonl', size: lines.size, open: () => lines.stream() }])
}

function text(value: unknown): string {
  return Array.isArray(value)
    ? (value as { content: string }[]).map(({ content }) => content).join('\n')
    : String(value)
}

async function run(sample: string, change: Partial<Job>): Promise<Found> {
  const {
    objective: _objective,
    sftWeight: _weight,
    ...suggested
  } = cards.find(({ id }) => id === sample)?.suggested ?? {}
  const steps = Number(flags.steps)
  const warmup = { steps, warmupSteps: Math.ceil(steps / 20), evalEvery: steps, sampleTokens: 0, earlyStop: 0 }
  const rate = change.objective && change.objective !== 'sft' ? {} : { learningRate: 5e-3 }
  const job = completeJob({ ...suggested, ...rate, ...warmup, ...change })
  const data = await rowsOf(sample, job)
  const mix = await Promise.all(
    mixOf(job).map(async ({ dataset: id, share }) => {
      const { rows, mapping } = await dataset(id.replace('sample:', ''))
      return { rows, mapping, share }
    }),
  )
  const { result, peak } = await measurePeak(async () => {
    const source = diskFolder(join(ROOT, 'public/models/stories-3m'))
    const model = await loadModel(source, {
      id: 'bundled:stories-3m',
      name: 'Stories 3M',
      quantization: job.quantization,
    })
    const rows = await prepare(data.rows, data.mapping, model.tokenizer, model.chatTemplate, job, { mix })
    const batches = batchesOf(rows, job)
    const { classes } = rows
    const session = await createSession({ model, job, batches, evalRows: rows.eval, samplePrompt: null, classes })
    const found = { tokens: 0, time: 0, evalLoss: Number.NaN, preferred: undefined as number | undefined }
    let before = 0
    for await (const event of session.run()) {
      // The first steps fetch what later ones have at hand. Processor time, not the clock: others may be at work on this machine.
      const now = processorTime()
      if (event.kind === 'step' && event.step > 2) {
        found.tokens += event.tokens
        found.time += now - before
      }
      before = now
      if (event.kind === 'eval') [found.evalLoss, found.preferred] = [event.evalLoss, event.rewardAccuracy]
    }
    const host = hostBytes()
    session.dispose()
    model.dispose()
    return { ...found, host }
  })
  const { tokens, time, evalLoss, preferred, host } = result
  return {
    bytes: peak + host,
    tokensPerSecond: (1000 * tokens) / time,
    evalLoss,
    ...(preferred === undefined ? {} : { preferred }),
  }
}

/** ms that this process has had of its processor. */
function processorTime(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

const wasmPath = join(ROOT, 'node_modules/@tensorflow/tfjs-backend-wasm/dist/')
await openDevice('wasm', { wasmPath })
const wanted = methods.filter(({ id }) => !flags.only || flags.only.split(',').includes(id))
const references = new Map<string, Found>()
const measured: Record<string, { memory: number; speed: number; result: string }> =
  flags.only && existsSync(OUT) ? read<{ rows: typeof measured }>('scripts/docs/methods-measured.json').rows : {}
for (const method of wanted) {
  const sample = sampleOf(method)
  if (!references.has(sample)) references.set(sample, await run(sample, {}))
  const reference = references.get(sample) as Found
  const found = Object.keys(method.job).length > 0 ? await run(sample, method.job) : reference
  const result =
    found.preferred === undefined ? `${found.evalLoss.toFixed(2)}` : `${Math.round(100 * found.preferred)} % preferred`
  const on = { 'kinder-answers': 'Kinder answers', feelings: 'Feelings' }[sample] ?? 'Pebble Bay'
  measured[method.id] = {
    memory: found.bytes / reference.bytes,
    speed: found.tokensPerSecond / reference.tokensPerSecond,
    result: `${result}, ${on}`,
  }
  console.log(method.id, JSON.stringify(found))
  const busy = (loadavg()[2] ?? 0) > 3 ? ', which other work kept busy' : ''
  const { bytes, tokensPerSecond } = references.get('pebble-bay') ?? reference
  const about = `Measured by \`npm run bench -- methods\` on ${new Date().toISOString().slice(0, 10)}: ${flags.steps} steps of 8 rows on WebAssembly in Node ${process.versions.node}, ${cpus().length} cores${busy}. LoRA itself: ${Math.round(bytes / 1e6)} MB and ${Math.round(tokensPerSecond)} tokens for each second of one core.`
  writeFileSync(OUT, `${JSON.stringify({ about, rows: measured }, null, 2)}\n`)
}
process.exit(0)
