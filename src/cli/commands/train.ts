/**
 * `finetab train`: from a model, a file and some flags to an adapter in a folder, with checkpoints to go on from. Refuses to
 * end without having stored what was learnt.
 */
import { resolve } from 'node:path'
import type { ImportedData } from '../../data'
import {
  batchesOf,
  datasetStats,
  encodePrompt,
  encodeText,
  fingerprintRows,
  mixOf,
  paddingShares,
  prepare,
} from '../../data'
import type { Prepared, PrepareOptions } from '../../data'
import type { Device, Model, TrainSession } from '../../engine'
import { batchShares, checkFits, createSession, forecast, spareMemory } from '../../engine'
import { recommend } from '../../insight/recipe'
import { arithmeticNote } from '../../shared/arithmetic'
import { CodedError } from '../../shared/errors'
import type { Job, SettingKey } from '../../shared/job'
import { completeJob, flagOf, SETTINGS } from '../../shared/job'
import type { JobFile } from '../../shared/job-file'
import type { Checkpoint } from '../../shared/records'
import { jobOf } from '../../engine/formats/peft'
import { openAdapter } from '../adapter'
import type { CommandContext } from '../context'
import { readDataset, readExamples, reportSkipped, sampleSettings } from '../dataset'
import type { Given } from '../flags'
import { requireFlags } from '../flags'
import { prepareFolder } from '../folder'
import { lockFolder } from '../lock'
import { nameForPeft, openModelFolder, refuseModelFolder, type ModelFolder } from '../model-folder'
import { formatBytes } from '../output'
import { loadModelFolder, openBackend, tuneDevice } from '../runtime'
import type { RunNote } from '../session-folder'
import { hasCheckpoint, loadCheckpoint } from '../session-folder'
import { checkSameRows, fingerprintOf, resolvePlaces } from '../repeat'
import { idleFlags, readJobFile, resumedJob, settingText } from '../settings'
import { runSession } from '../train-run'

/** Share of padding that packing must save to be worth a line. */
const WORTH_PACKING = 0.15

/** Runs the command; the exit code. */
export async function train(context: CommandContext): Promise<number> {
  const { options, output, interrupt } = context
  const file = options.job ? await readJobFile(options.job) : null
  const given: Given = { ...file?.given, ...context.given }
  const repeated = file?.run ?? null
  if (repeated) resolvePlaces(repeated, options.job ?? '', given)
  const out = options.out === undefined ? '' : resolve(options.out)
  const resumed = options.resume && out ? await loadCheckpoint(out) : null
  const stored = resumed ? resumedJob(resumed.checkpoint.meta.job, given) : null
  requireFlags('train', new Set([...Object.keys(stored ?? given), ...Object.keys(options)]))
  const places = completeJob(stored ?? given)
  const folder = await openModelFolder(places.model)
  const read = await (repeated ? readDataset : readExamples)(places.data, output, interrupt.signal)
  // What the columns mean was said on the page; a file alone is recognised anew.
  const data = repeated ? { ...read, mapping: repeated.dataset.mapping } : read
  await prepareFolder(out)
  await refuseModelFolder(out, folder)
  const release = await lockFolder(out)
  try {
    if (!resumed && (await hasCheckpoint(out))) {
      output.warn(
        `${out} holds an earlier run, which is replaced at the first checkpoint; --resume would go on with it.`,
      )
    }
    return await trainInto(out, { given, places, folder, data, repeated, resumed, stored }, context)
  } finally {
    release()
  }
}

/** What a run starts from, as read before anything is computed. */
interface Start {
  given: Given
  places: Job
  folder: ModelFolder
  data: ImportedData
  repeated: JobFile | null
  resumed: Awaited<ReturnType<typeof loadCheckpoint>> | null
  /** The settings of the run that is resumed. */
  stored: Job | null
}

async function trainInto(out: string, start: Start, context: CommandContext): Promise<number> {
  const { given, places, folder, data, repeated, resumed, stored } = start
  const { output } = context
  const device = await openBackend(places, context)
  const model = await loadModelFolder(folder, context, places.quantization)
  if (resumed) output.event('start', { job: stored, reasons: [], resumed_at: resumed.checkpoint.meta.step })
  const job = stored ?? (await chooseJob(given, model, data, device, context))
  const rows = await encodeRows(job, data, model, context)
  reportSkipped(job.data, rows.skipped, output)
  if (!stored) for (const sentence of idleFlags(context.given, job)) output.warn(sentence)
  reportValidation(job, rows, output)
  if (repeated) checkSameRows(repeated, rows, output)
  reportStart(job, rows, model, device, context)
  const note: RunNote = {
    mapping: data.mapping,
    model: resumed?.note.model ?? nameForPeft(folder),
    rows: rows.train.length,
    rowsHash: fingerprintOf(rows),
    ...(await tuneDevice(resumed?.note.tuning, context)),
  }
  if (resumed) checkSameData(note, resumed.note, job.data)
  const session = await openSession(job, rows, note, model, resumed?.checkpoint, device)
  return runSession(session, { out, note, context, resumedAt: resumed?.checkpoint.meta.step ?? 0 })
}

/** The rows of a job in tokens, with those of its validation dataset and of the datasets that it mixes in. */
export async function encodeRows(
  job: Job,
  data: ImportedData,
  model: Model,
  context: CommandContext,
): Promise<Prepared> {
  const { output, interrupt } = context
  const held = job.evalData ? await readExamples(job.evalData, output, interrupt.signal) : undefined
  const rows = await prepare(data.rows, data.mapping, model.tokenizer, model.chatTemplate, job, {
    evaluation: held && { rows: held.rows, mapping: held.mapping },
    mix: await readMix(job, context),
    total: data.rows.length,
    onProgress: (progress) => output.progress(progress),
    signal: interrupt.signal,
  })
  output.endBar()
  return rows
}

/** The datasets that the job mixes in. */
async function readMix(job: Job, { output, interrupt }: CommandContext): Promise<PrepareOptions['mix']> {
  const mix: { rows: ImportedData['rows']; mapping: ImportedData['mapping']; share: number }[] = []
  for (const { dataset, share } of mixOf(job)) {
    const { rows, mapping } = await readExamples(dataset, output, interrupt.signal)
    mix.push({ rows, mapping, share })
  }
  return mix
}

/** The job from what the person gave and, for the rest, what was measured for a sample, then the recipe for this model and data. */
export async function chooseJob(
  asked: Given,
  model: Model,
  data: ImportedData,
  device: Device,
  { output, interrupt }: CommandContext,
): Promise<Job> {
  const start = asked.initAdapter ? jobOf((await openAdapter(String(asked.initAdapter))).config) : {}
  const sample = { ...(await sampleSettings(String(asked.data ?? ''), model.record.id)) }
  // Measured for LoRA: other methods want other rates.
  if ((asked.method ?? start.method ?? 'lora') !== 'lora') delete sample.learningRate
  const given: Given = { ...sample, ...start, ...asked } as Given
  const held = given.evalData ? { evalFraction: 0 } : {}
  const before = completeJob({ maxLength: model.record.context, ...given, ...held })
  const stats = await datasetStats(data.rows, data.mapping, model.tokenizer, model.chatTemplate, before, {
    signal: interrupt.signal,
  })
  const rowLength = Math.min(stats.lengths.max, before.maxLength)
  const memory = batchShares(model.record, before, rowLength, device.report)
  const { change, reasons } = recommend(model.record, stats, { given: given as Partial<Job>, memory })
  const job = completeJob({ ...change, ...given })
  output.event('start', { job, reasons, resumed_at: 0 })
  output.note(`\n${stats.verdict}\n`)
  for (const { key, text } of reasons) {
    output.note(`  --${flagOf(key)} ${settingText(key, job[key])}: ${text}`)
  }
  return job
}

/** Says what would make the validation loss mean something else than it seems to. */
function reportValidation(job: Job, { train, eval: held }: Prepared, output: CommandContext['output']): void {
  if (held.length === 0 && job.schedule === 'plateau') {
    output.warn('--schedule plateau keeps the rate as it is: without validation rows nothing tells when to lower it.')
  }
  if (!job.evalData) return
  const trained = new Set(train.map((row) => fingerprintRows([row])))
  const shared = held.filter((row) => trained.has(fingerprintRows([row]))).length
  if (shared === 0) return
  output.event('shared_rows', { shared, rows: held.length })
  output.warn(
    `${shared} of the ${held.length} validation rows are trained on too: their loss says little about new text. ` +
      `"data convert --data ${job.data} --without ${job.evalData}" leaves them out of the examples.`,
  )
}

function describe({ rows, mapping }: RunNote): string {
  return `${rows} ${mapping.format} rows`
}

/** @throws CodedError `checkpoint.mismatch` where the run to resume was on other rows, or on the same in another order. */
function checkSameData(now: RunNote, then: RunNote, file: string): void {
  const counted = now.rows === then.rows && now.mapping.format === then.mapping.format
  if (counted && (then.rowsHash === undefined || now.rowsHash === then.rowsHash)) return
  const what = counted
    ? 'The rows are not those of the run to resume: text, order or validation rows have changed since.'
    : `The run to resume was on ${describe(then)}; now there are ${describe(now)}.`
  throw new CodedError('checkpoint.mismatch', what, {
    where: file,
    fix: 'Resume with the dataset of that run, or start a new run without --resume.',
  })
}

async function openSession(
  job: Job,
  rows: Prepared,
  note: RunNote,
  model: Model,
  checkpoint: Checkpoint | undefined,
  device: Device,
): Promise<TrainSession> {
  return createSession({
    model,
    job,
    batches: batchesOf(rows, job),
    evalRows: rows.eval,
    samplePrompt: samplePrompt(job, rows, note, model),
    initAdapter: job.initAdapter && !checkpoint ? await openAdapter(job.initAdapter) : undefined,
    checkpoint,
    classes: rows.classes,
    spare: spareMemory(model, job, device.report),
  })
}

/** Prompt ids of the sample: the person's, else those of the first validation row up to its first answer. */
function samplePrompt(job: Job, rows: Prepared, note: RunNote, model: Model): number[] | null {
  if (job.sampleTokens === 0) return null
  if (job.samplePrompt && rows.classes) return encodeText(job.samplePrompt, note.mapping, model.tokenizer)
  if (job.samplePrompt) return encodePrompt(job.samplePrompt, note.mapping, model.tokenizer, model.chatTemplate)
  const row = rows.eval[0]
  if (!row) return null
  const first = row.labels.findIndex((label) => label !== -100)
  return first > 0 ? [...row.inputIds.subarray(0, first)] : null
}

function reportStart(job: Job, rows: Prepared, model: Model, device: Device, { output }: CommandContext): void {
  const longest = rows.train.reduce((most, row) => Math.max(most, row.inputIds.length), 0)
  // What wasm can hold is known; how much memory a GPU has, nobody tells.
  const plan = device.report.backend === 'wasm' ? checkFits : forecast
  const memory = plan(model.record, job, longest, device.report)
  output.note(
    `\n${model.record.name}: ${model.record.parameters.toLocaleString('en')} parameters · ${rows.train.length} rows to train on, ` +
      `${rows.eval.length} for validation · about ${formatBytes(memory.total)} of memory`,
  )
  const { shuffled, bucketed, packed } = paddingShares(
    rows.train.map((row) => row.inputIds.length),
    job,
  )
  const padded = job.groupByLength ? bucketed : shuffled
  const percent = (share: number) => `${Math.round(100 * share)} %`
  if (!job.packing && padded - packed > WORTH_PACKING)
    output.note(
      `${percent(padded)} of a batch is padding; with --packing it would be ${percent(packed)}, with the same result.`,
    )
  if (rows.truncatedRows > 0)
    output.warn(`${rows.truncatedRows} rows are cut at ${job.maxLength} tokens (--max-length).`)
  const otherwise = arithmeticNote(job, device.report)
  if (otherwise) output.note(otherwise)
  if (memory.fits) return
  const remedies = memory.remedies.map(({ text, change }) => `${text} (${flagsOf(change)})`)
  output.warn(`This may need more memory than there is (${formatBytes(memory.budget)}). ${remedies.join(', or ')}`)
}

function flagsOf(change: Partial<Job>): string {
  const keys = (Object.keys(change) as SettingKey[]).filter((key) => Object.hasOwn(SETTINGS, key))
  return keys.map((key) => `--${flagOf(key)} ${String(change[key])}`).join(' ')
}
