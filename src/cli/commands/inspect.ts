/** `finetab inspect`: what a model, an adapter, a dataset or any other file of theirs is, without a device. Refuses to change anything. */
import { basename, dirname, join } from 'node:path'
import { datasetStats, previewRow } from '../../data'
import { inspectModel } from '../../engine'
import { readGguf } from '../../engine/formats/gguf-read'
import { MLX_WEIGHTS } from '../../engine/formats/mlx'
import { ADAPTER_WEIGHTS, asLora, loraDeltas, type PeftConfig } from '../../engine/formats/peft'
import { loadTokenizer } from '../../engine/tokenizer'
import { loadChatTemplate } from '../../engine/tokenizer/chat-template'
import { CodedError } from '../../shared/errors'
import { completeJob } from '../../shared/job'
import type { DatasetStats, ModelRecord } from '../../shared/records'
import { openAdapter } from '../adapter'
import type { CommandContext } from '../context'
import { readDataset } from '../dataset'
import { requireFlags } from '../flags'
import { folderSource, isFolder } from '../folder'
import type { ModelFolder } from '../model-folder'
import { openModelFolder } from '../model-folder'
import { factTable as table, formatBytes } from '../output'
import { recognise } from '../recognise'
import { readTraining } from '../training-record'
import { inspectJob, inspectTokenizer, inspectWeights } from './inspect-files'

/** Runs the command; the exit code. */
export async function inspect(context: CommandContext): Promise<number> {
  const { given } = context
  requireFlags('inspect', new Set([...Object.keys(given), ...Object.keys(context.options)]))
  const { path, adapter } = context.options
  if (path !== undefined) await inspectPath(path, context)
  const model = given.model === undefined ? null : await inspectModelAt(String(given.model), context)
  if (adapter !== undefined) await inspectAdapter(adapter, context)
  if (given.data !== undefined) await inspectData(String(given.data), model, context)
  return 0
}

/** Whatever lies at a path. */
async function inspectPath(given: string, context: CommandContext): Promise<void> {
  const { kind, path } = await recognise(given)
  switch (kind) {
    case 'model':
      return void (await inspectModelAt(path, context))
    case 'adapter':
      return inspectAdapter(path, context)
    case 'weights':
      return inspectWeights(path, context)
    case 'tokenizer':
      return inspectTokenizer(path, context)
    case 'job':
      return inspectJob(path, context)
    case 'handoff':
      context.output.note('A hand-off to larger machines: its README.md says how to run it. Its job:')
      return inspectJob(join(path, 'job.json'), context)
    case 'data':
      return inspectData(path, null, context)
  }
}

async function inspectModelAt(
  given: string,
  context: CommandContext,
): Promise<{ folder: ModelFolder; record: ModelRecord }> {
  const folder = await openModelFolder(given)
  const record = await inspectModel(folder.source, folder.id, folder.name)
  reportModel(record, context)
  return { folder, record }
}

/** An adapter of PEFT, of mlx-lm or in GGUF, and the run that it comes from. */
async function inspectAdapter(path: string, { output }: CommandContext): Promise<void> {
  const { kind, rank, alpha, size, layers, tensors, base } = /\.gguf$/i.test(path)
    ? await ggufAdapterFacts(path)
    : await adapterFacts(path)
  const run = await readTraining(path)
  const trained = run ? { step: run.step, total_steps: run.totalSteps, best_eval_loss: run.bestEvalLoss } : null
  output.event('adapter', { path, kind, rank, alpha, layers, tensors, base, run: trained })
  output.result(
    table([
      ['Adapter', path],
      ['Kind', kind],
      ...(rank === undefined ? [] : [['Rank', `${rank}, alpha ${alpha}`] as [string, string]]),
      ...(size === undefined ? [] : [['Size', size] as [string, string]]),
      ['Tensors', `${tensors} on ${layers} layers`],
      ['Base model', base ?? 'not named'],
      ['Training', run ? `a run of this program, at step ${run.step} of ${run.totalSteps}` : 'not recorded'],
    ]),
  )
}

interface AdapterFacts {
  kind: string
  rank?: number
  alpha?: number
  /** Of methods beside LoRA, in words. */
  size?: string
  layers: number
  tensors: number
  base: string | null
}

async function adapterFacts(path: string): Promise<AdapterFacts> {
  const adapter = await openAdapter(path)
  const { base_model_name_or_path: base, peft_type: type } = adapter.config
  const tensors = Object.keys(adapter.tensors).length
  if (type === 'FULL') return { kind: 'weights of a model, trained by this program', layers: tensors, tensors, base }
  if (type !== 'LORA') {
    const modules = new Set(Object.keys(adapter.tensors).map((key) => key.replace(/\.(ia3_l|adapter_.*)$/, '')))
    return { kind: `PEFT, ${type}`, ...sizeOf(adapter.config), layers: modules.size, tensors, base }
  }
  const { r: rank, lora_alpha: alpha, use_dora, use_rslora } = asLora(adapter).config
  const names = (await isFolder(path)) ? (await (await folderSource(path)).list()).map(({ name }) => name) : []
  const isMlx = names.includes(MLX_WEIGHTS) && !names.includes(ADAPTER_WEIGHTS)
  const kind = `${isMlx ? 'mlx-lm' : 'PEFT'} ${use_dora ? 'DoRA' : 'LoRA'}${use_rslora ? ', rank-stabilised' : ''}`
  return { kind, rank, alpha, layers: loraDeltas(adapter).length, tensors, base }
}

function sizeOf(config: PeftConfig): { size?: string } {
  if ('num_virtual_tokens' in config) return { size: `${config.num_virtual_tokens} virtual tokens` }
  return 'bottleneck_size' in config ? { size: `a width of ${config.bottleneck_size}` } : {}
}

async function ggufAdapterFacts(path: string): Promise<AdapterFacts> {
  const { metadata, tensors } = await readGguf(await folderSource(dirname(path)), basename(path))
  if (metadata.get('general.type') !== 'adapter')
    throw new CodedError('adapter.unsupported', 'This GGUF file holds a model and no adapter.', {
      where: path,
      fix: 'Look at it with --model.',
    })
  const first = [...tensors].find(([name]) => name.endsWith('.lora_a'))?.[1]
  const alpha = Number(metadata.get('adapter.lora.alpha'))
  const base = metadata.get('general.architecture')
  const layers = [...tensors.keys()].filter((name) => name.endsWith('.lora_a')).length
  return { kind: 'GGUF LoRA', rank: first?.shape[0] ?? 0, alpha, layers, tensors: tensors.size, base: String(base) }
}

function reportModel(record: ModelRecord, { output }: CommandContext): void {
  const { shape } = record
  output.event('model', { ...record })
  output.result(
    table([
      ['Model', record.name],
      ['Family', record.family],
      ['Parameters', record.parameters.toLocaleString('en')],
      ['Vocabulary', record.vocabulary.toLocaleString('en')],
      ['Context', `${record.context.toLocaleString('en')} tokens`],
      ['Layers', `${record.layers} of ${record.hidden}, ${shape.heads} heads, ${shape.kvHeads} for keys and values`],
      ['Weights', `${record.dtype}, ${formatBytes(record.bytes)} in all`],
      ['Output layer', shape.tiedHead ? 'shared with the embeddings' : 'its own'],
      ['Chat template', record.hasChatTemplate ? 'its own' : 'none'],
    ]),
  )
}

async function inspectData(
  path: string,
  model: { folder: ModelFolder; record: ModelRecord } | null,
  context: CommandContext,
): Promise<void> {
  const { given, output, interrupt } = context
  const data = await readDataset(path, output, interrupt.signal)
  const { mapping, why, columns } = data
  output.event('data', { file: path, rows: data.rows.length, problems: data.problems, mapping, why, columns })
  output.result(
    table([
      ['Dataset', path],
      ['Rows', `${data.rows.length.toLocaleString('en')} (${data.problems.length} set aside)`],
      ['Format', `${mapping.format}: ${why}`],
      ['Columns', columns.join(', ') || 'none'],
    ]),
  )
  if (!model) return
  const job = completeJob({ maxLength: model.record.context, ...given })
  const tokenizer = await loadTokenizer(model.folder.source)
  const template = await loadChatTemplate(model.folder.source, tokenizer)
  const stats = await datasetStats(data.rows, mapping, tokenizer, template, job, { signal: interrupt.signal })
  const row = data.rows[0]
  const preview = row && previewRow(row, 0, mapping, tokenizer, template, job)
  output.event('stats', { ...stats })
  if (preview) output.event('preview', { ...preview })
  output.result(table(statsLines(stats)))
  if (!preview) return
  const text = (trained: boolean) =>
    preview.tokens.map((token) => (token.trained === trained ? token.text : '')).join('')
  output.result(
    table([
      ['First row', preview.problem ?? `${preview.tokens.length} tokens, ${preview.trainedTokens} of them trained`],
      ['  prompt', JSON.stringify(text(false))],
      ['  trained', JSON.stringify(text(true))],
    ]),
  )
}

function statsLines(stats: DatasetStats): [string, string][] {
  const { lengths } = stats
  return [
    ['Tokens', `${stats.tokens.toLocaleString('en')}, ${stats.trainedTokens.toLocaleString('en')} of them trained`],
    ['Row length', `${lengths.min} to ${lengths.max} tokens, median ${lengths.median}, 95 % up to ${lengths.p95}`],
    ['Cut', `${stats.truncatedRows} rows`],
    ['Repeated', `${stats.duplicateRows} rows; ${stats.conflictingPrompts} prompts with different answers`],
    ['Split', `${stats.trainRows} to train on, ${stats.evalRows} for validation`],
    ['Verdict', stats.verdict],
  ]
}
