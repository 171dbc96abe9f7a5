/**
 * `finetab rehearse`: a few real steps before a run, for its time, its health or its learning rate, or what
 * prompting does instead. Refuses to keep an adapter.
 */
import type { ImportedData } from '../../data'
import type { Model } from '../../engine'
import { rehearsalVerdict } from '../../insight/rehearsal'
import { promptingVerdict } from '../../insight/verdict'
import { judgeRows, rehearse as run, tryPrompting } from '../../judge'
import { CodedError } from '../../shared/errors'
import { completeJob, type Job } from '../../shared/job'
import type { RehearsalKind } from '../../shared/judgement'
import { openAdapter } from '../adapter'
import type { CommandContext } from '../context'
import { readExamples } from '../dataset'
import { requireFlags } from '../flags'
import { openModelFolder } from '../model-folder'
import { formatBytes, formatNumber, tableRow } from '../output'
import { loadModelFolder, openBackend } from '../runtime'
import { chooseJob, encodeRows } from './train'

const KINDS: readonly (RehearsalKind | 'prompting')[] = ['time', 'smoke', 'range', 'prompting']
/** Rows that the base answers with and without examples, and how many examples. */
const PROMPTED = { limit: 12, shots: 3 }
const COLUMNS = ['step', 'lr', 'loss'].map((title) => ({ title, width: 9 }))

/** Runs the command; the exit code. */
export async function rehearse(context: CommandContext): Promise<number> {
  const { options, given, output, interrupt } = context
  requireFlags('rehearse', new Set(Object.keys(given)))
  const kind = KINDS.find((known) => known === (options.kind ?? 'time'))
  if (!kind) {
    const fix = `Use one of ${KINDS.join(', ')}.`
    throw new CodedError('usage', 'There is no such rehearsal.', { where: `--kind ${options.kind ?? ''}`, fix })
  }
  const places = completeJob(given)
  const folder = await openModelFolder(places.model)
  const data = await readExamples(places.data, output, interrupt.signal)
  const device = await openBackend(places, context)
  const model = await loadModelFolder(folder, context, places.quantization)
  const job = await chooseJob(given, model, data, device, context)
  if (kind === 'prompting') return prompting(job, data, model, context)
  const rows = await encodeRows(job, data, model, context)
  const result = await run({
    ...{ kind, model, job, rows },
    initAdapter: job.initAdapter ? await openAdapter(job.initAdapter) : undefined,
    turn: async (work) => {
      await interrupt.breathe()
      return work()
    },
    onStep: ({ step, loss, learningRate }) => {
      output.event('step', { step, loss, lr: learningRate })
      output.result(`${tableRow([step, learningRate, loss], COLUMNS)}\n`)
    },
    signal: interrupt.signal,
  })
  const { steps: _steps, ...measured } = result
  const verdict = rehearsalVerdict(result, job.learningRate)
  output.event('rehearsal', { ...measured, verdict: verdict.text, change: verdict.change ?? null })
  const pace = `${formatNumber(result.stepTime / 1000)} s a step, ${formatNumber(result.tokensPerSecond)} tokens/s, ${formatBytes(result.memory)} of memory`
  output.result(`\n${verdict.text}\n${pace}\n`)
  return 0
}

/** The base on held-back rows, with and without examples in its prompt. */
async function prompting(job: Job, data: ImportedData, model: Model, context: CommandContext): Promise<number> {
  const { output, interrupt } = context
  const source = { open: () => data.rows, mapping: data.mapping, name: job.data, total: data.rows.length }
  const asAnswers: Job = { ...job, objective: 'sft' }
  const { rows } = await judgeRows(source, model, asAnswers, { heldBack: true, ...PROMPTED }, interrupt.signal)
  const found = await tryPrompting({
    ...{ model, rows, format: data.mapping.format, shots: PROMPTED.shots },
    turn: async (work) => {
      await interrupt.breathe()
      return work()
    },
    onProgress: (progress) => output.progress(progress),
    signal: interrupt.signal,
  })
  output.endBar()
  const { text, advice } = promptingVerdict(found)
  output.event('prompting', { ...found, verdict: text })
  for (const { prompt, wanted, without, withExamples } of found.rows)
    output.result(
      `${prompt}\n  wanted         ${wanted}\n  alone          ${without}\n  with examples  ${withExamples}\n`,
    )
  output.result(`\n${[text, advice].filter(Boolean).join(' ')}\n`)
  return 0
}
