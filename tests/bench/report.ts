/** Tables of what was measured, as Markdown, and what is computed from it. Refuses numbers of different runs in one table. */
import type { AttentionRow } from './attention'
import type { GemmRow } from './gemm'
import type { GenerateRow } from './generate'
import { growth, median } from './measure'
import type { OpRow } from './ops'
import { SHAPE_WORDS, SHAPES, type BenchResult } from './shapes'
import type { Outcome, Task } from './tasks'

export interface Measured {
  readonly task: Task
  readonly outcome: Outcome
}

export const NAMES: Record<string, string> = {
  finetab: 'Finetab',
  tape: 'TensorFlow.js tape',
  tfjs: 'TensorFlow.js',
  jax: 'jax-js',
  torch: 'PyTorch',
  plain: 'plain form',
}

function table(heads: string[], rows: (string | number)[][]): string {
  const lines = [heads, heads.map((_, i) => (i === 0 ? '---' : '---:')), ...rows]
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

const digits = (value: number, count = 3): string =>
  Number.isFinite(value) ? (Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en') : value.toPrecision(count)) : '–' // prettier-ignore
const megabytes = (bytes: number | null): string => (bytes === null ? '–' : `${digits(bytes / 1e6)} MB`)
const ratio = (value: number): string => (Number.isFinite(value) ? `${value.toFixed(1)}x` : '')

/** One contestant's steps in numbers. */
export interface StepRow {
  backend: string
  model: string
  peer: string
  tokensPerSecond: number
  /** Of Finetab's own run, and against this peer. */
  finetabIsFasterBy: number
  firstMs: number
  stepMs: number
  /** Processor's ms of a step, of all threads; NaN where it cannot be told. Graphics cards have their own time. */
  processorMs: number
  peakBytes: number | null
  dispatches: number
  /** Host microseconds a dispatch, through the ops and replayed. */
  hostOps: number
  hostReplayed: number
  lossDifference: number
  flops: number
}

export function stepRows(measured: readonly Measured[]): StepRow[] {
  const rows = measured.flatMap(({ task, outcome }) => {
    if (task.bench !== 'step') return []
    const result = outcome.result as BenchResult
    const shape = SHAPES[task.model]!
    const stepMs = median(result.times.slice(2))
    const perDispatch = (time?: { ms: number; dispatches: number }): number =>
      time ? (1000 * time.ms) / time.dispatches : Number.NaN
    return [
      {
        ...{ backend: task.backend, model: task.model, peer: task.peer, stepMs, result },
        tokensPerSecond: (shape.batch * shape.length * 1000) / stepMs,
        firstMs: result.times[0] ?? Number.NaN,
        processorMs: outcome.software && result.processor ? median(result.processor.slice(2)) : Number.NaN,
        peakBytes: result.peakBytes,
        dispatches: result.dispatches,
        hostOps: perDispatch(result.host?.ops),
        hostReplayed: perDispatch(result.host?.replayed),
        flops: result.flops,
      },
    ]
  })
  return rows.map(({ result, ...row }) => {
    const own = rows.find((other) => other.peer === 'finetab' && other.backend === row.backend && other.model === row.model) // prettier-ignore
    const losses = own?.result.losses ?? []
    const off = losses.map((loss, i) => Math.abs((result.losses[i] ?? loss) - loss) / loss)
    return { ...row, finetabIsFasterBy: row.stepMs / (own?.stepMs ?? Number.NaN), lossDifference: Math.max(...off) }
  })
}

/** Seconds of all threads in a step and how many times Finetab's own they are. */
function processorTime(row: StepRow, rows: readonly StepRow[]): string {
  if (!Number.isFinite(row.processorMs)) return ''
  const own = rows.find(
    ({ peer, backend, model }) => peer === 'finetab' && backend === row.backend && model === row.model,
  )
  const times = row.peer === 'finetab' || !own ? '' : `, ${ratio(row.processorMs / own.processorMs)}`
  return `${digits(row.processorMs / 1000)} s${times}`
}

/** Best rate of any product measured, in FLOP/s; NaN where none was. */
export function bestRate(measured: readonly Measured[], backend: string): number {
  const rates = measured
    .filter(({ task }) => task.bench === 'gemm' && task.backend === backend)
    .flatMap(({ outcome }) => (outcome.result as GemmRow[]).flatMap(({ gflops }) => Object.values(gflops)))
  return rates.length > 0 ? Math.max(...rates) * 1e9 : Number.NaN
}

function stepText(measured: readonly Measured[]): string {
  const rows = stepRows(measured)
  const whole = table(
    ['backend', 'model', 'library', 'tokens/s', 'Finetab is faster by', 'processor time', 'first step', 'bytes', 'dispatches', 'losses differ by'],
    rows.map((row) => {
      const own = row.peer === 'finetab'
      return [
        ...[row.backend, row.model, NAMES[row.peer]!, digits(row.tokensPerSecond), own ? '' : ratio(row.finetabIsFasterBy), processorTime(row, rows)],
        ...[`${(row.firstMs / 1000).toFixed(1)} s`, megabytes(row.peakBytes), row.dispatches || '', own ? '' : row.lossDifference.toExponential(0)],
      ]
    }),
  ) // prettier-ignore
  const hosted = rows.filter((row) => Number.isFinite(row.hostReplayed))
  const host = table(
    ['model', 'dispatches a step', 'host µs a dispatch, through the ops', 'replayed', 'MFU'],
    hosted.map((row) => [
      ...[row.model, row.dispatches, digits(row.hostOps), digits(row.hostReplayed)],
      Number.isFinite(bestRate(measured, row.backend))
        ? `${((100 * row.flops * 1000) / row.stepMs / bestRate(measured, row.backend)).toFixed(0)}%`
        : 'no products measured',
    ]),
  ) // prettier-ignore
  const models = [...new Set(rows.map(({ model }) => model))]
  return `LoRA of rank 16 on all seven projections, f32, Adam, the same weights and batch; a step ends when the device has done its work; medians after two steps of warm-up. Processor time: of all threads in a step, where no graphics card takes part; other work on the machine slows the clock, not this. On wasm Finetab takes as many threads as its page does, the others as many as they do by themselves. Bytes: on webgpu the most that buffers took, on wasm the tensors held after a step.

${whole}

${models.map((model) => `${model}: ${SHAPE_WORDS[model]}`).join('. ')}.
${hosted.length > 0 ? `\nWhat a step costs the host on webgpu, when its dispatches go through the ops (the second step) and when they are replayed; and MFU: its useful floating-point operations a second over those of the fastest product measured in the same run.\n\n${host}\n` : ''}`
}

function gemmText(measured: readonly Measured[]): string {
  const parts = measured.map(({ task, outcome }) => {
    const rows = outcome.result as GemmRow[]
    const names = [...new Set(rows.flatMap(({ gflops }) => Object.keys(gflops)))]
    const peers = names.filter((name) => name !== 'finetab')
    const heads = ['m x k x n', 'form', ...names.map((name) => NAMES[name]!), ...peers.map((name) => `to ${NAMES[name]}`), ...(rows[0]?.plan ? ['block, by thread'] : [])]
    return `On ${task.backend} (${outcome.device}):\n\n${table(
      heads,
      rows.map(({ m, k, n, form, gflops, plan }) => [
        ...[`${m} x ${k} x ${n}`, form, ...names.map((name) => digits(gflops[name]!))],
        ...peers.map((name) => ratio(gflops.finetab! / gflops[name]!)),
        ...(plan ? [plan] : []),
      ]),
    )}`
  }) // prettier-ignore
  return `GFLOP/s in f32 by shape (C is m x n, k is summed over) and form: forward, gradient of x, gradient of a weight. Rivals take turns.\n\n${parts.join('\n\n')}\n`
}

function attentionText(measured: readonly Measured[]): string {
  const parts = measured.map(({ task, outcome }) => {
    const rows = outcome.result as AttentionRow[]
    const grows = (pick: (row: AttentionRow) => number): string =>
      growth(rows.map((row) => [row.length, pick(row)] as const).filter(([, y]) => y > 0)).toFixed(2)
    return `On ${task.backend} (${outcome.device}); time grows with T to the power of ${grows((row) => row.ms.finetab)}, bytes with ${grows((row) => row.bytes.finetab)} (plain form: ${grows((row) => row.ms.plain)} and ${grows((row) => row.bytes.plain)}):\n\n${table(
      ['T', 'Finetab', 'plain form', 'Finetab, bytes', 'plain form, bytes'],
      rows.map(({ length, ms, bytes }) => [
        ...[length, `${digits(ms.finetab)} ms`, Number.isFinite(ms.plain) ? `${digits(ms.plain)} ms` : '–'],
        ...[megabytes(bytes.finetab), Number.isFinite(bytes.plain) ? megabytes(bytes.plain) : '–'],
      ]),
    )}`
  })
  return `Forward and backward, 9 heads over 3 of keys, 64 channels each (SmolLM2-135M), by length; bytes beyond queries, keys and values. The plain form keeps all scores.\n\n${parts.join('\n\n')}\n`
}

function memoryText(measured: readonly Measured[]): string {
  const rows = measured.map(({ task, outcome }) => ({ task, bytes: (outcome.result as BenchResult).peakBytes! }))
  const shown = rows.flatMap(({ task, bytes }) => {
    if (task.bench !== 'memory') return []
    const tape = rows.find(({ task: other }) => other.bench === 'memory' && other.peer === 'tape' && other.backend === task.backend && other.model === task.model) // prettier-ignore
    const share = task.peer === 'finetab' && tape ? `1/${(tape.bytes / bytes).toFixed(1)}` : ''
    const how = task.peer === 'tape' ? '' : task.spare > 0 ? ', layers kept' : ', layers computed again'
    return [[task.backend, task.model, NAMES[task.peer]! + how, megabytes(bytes), share]]
  })
  const models = [...new Set(shown.map(([, model]) => model!))].map((model) => `${model}: ${SHAPE_WORDS[model]!.replace(/, batch.*/, '')}`) // prettier-ignore
  return `The most bytes that two LoRA steps on one row of 512 tokens hold, loading and weights included: on webgpu every buffer, programs being encoded but not run, which changes no allocation; on wasm every block of memory. Finetab keeps what its layers computed where there is memory to spare, else it computes them again.

${table(['backend', 'model', 'library', 'bytes', 'of the tape’s'], shown)}

${models.join('. ')}.
`
}

function opsText(measured: readonly Measured[]): string {
  const rows = measured.flatMap(({ task, outcome }) =>
    (outcome.result as OpRow[]).map(({ name, ms }) => [
      ...[task.backend, name, `${digits(ms.finetab)} ms`, `${digits(ms.plain)} ms`, ratio(ms.plain / ms.finetab)],
    ]),
  )
  return `${table(['backend', 'op', 'Finetab', 'plain TensorFlow.js', 'faster by'], rows)}\n`
}

function generateText(measured: readonly Measured[]): string {
  const rows = measured.flatMap(({ task, outcome }) => {
    if (task.bench !== 'generate') return []
    const { prompt, tokens, firstMs, tokenMs } = outcome.result as GenerateRow
    return [[task.backend, task.model, digits(1000 / tokenMs), `${digits(firstMs)} ms`, prompt, tokens]]
  })
  return `${table(['backend', 'model', 'tokens/s', 'first token after', 'prompt', 'answer'], rows)}\n`
}

/** Benches with a section of their own: title and text. */
export const SECTIONS = {
  step: ['A LoRA step against peers', stepText],
  gemm: ['Matrix products', gemmText],
  attention: ['Attention by length', attentionText],
  memory: ['Memory', memoryText],
  ops: ['Fused ops', opsText],
  generate: ['Generation', generateText],
} as const satisfies Record<string, readonly [string, (measured: readonly Measured[]) => string]>

/** The README's table of one model. */
export function readmeTable(measured: readonly Measured[], model: string): string {
  const rows = stepRows(measured).filter((row) => row.model === model)
  const peers = ['finetab', 'tape', 'jax']
  const rate = (backend: string, peer: string): string =>
    digits(rows.find((row) => row.backend === backend && row.peer === peer)?.tokensPerSecond ?? Number.NaN)
  const names = { wasm: 'WebAssembly, Node', webgpu: 'WebGPU' }
  return table(
    ['tokens/s', ...peers.map((peer) => NAMES[peer]!)],
    Object.entries(names).map(([backend, name]) => [name, ...peers.map((peer) => rate(backend, peer))]),
  )
}
