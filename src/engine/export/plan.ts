/**
 * What each export format consists of, and how what was written is checked: shared by page and command line. Refuses to know where files
 * go, and to offer a file that does not hold what the adapter holds.
 */
import { CodedError } from '../../shared/errors'
import { dtypesOf, exportFormatsOf, type ExportDtype, type ExportFormat } from '../../shared/exports'
import type { FileSource } from '../../shared/files'
import type { Job } from '../../shared/job'
import { MetricBuffer, metricsToCsv, type MetricColumns } from '../../shared/metrics'
import type { Mapping, ModelRecord } from '../../shared/records'
import { openWeights } from '../formats/checkpoint-index'
import { checkGguf, exportGguf, exportGgufLora } from '../formats/gguf-export'
import { becomesUntied, mergeWeights } from '../formats/merge'
import { mergedFolder } from '../formats/merged'
import { mlxAdapter, readMlx } from '../formats/mlx'
import { bytesFile, jsonFile, type OutFile } from '../formats/out-file'
import { classesOf, jobOf, loraDeltas, readPeft, writePeft, type PeftAdapter } from '../formats/peft'
import type { Tokenizer } from '../tokenizer'
import type { ChatTemplate } from '../tokenizer/chat-template'
import { compareDeltas, compareTensors, compareWeights, differenceText, type Verification } from './compare'
import { modelCard } from './model-card'
import { modelfile } from './modelfile'
import { trainerState } from './trainer-state'

/** How an adapter came to be, where that is known. */
export interface TrainingRecord {
  job: Job
  data: { name: string; description?: string; trainRows: number; evalRows?: number }
  mapping: Mapping
  step: number
  totalSteps: number
  tokensSeen: number
  lastLoss: number | null
  bestStep: number | null
  bestEvalLoss: number | null
  metrics: MetricColumns
}

/** Everything that is written from. */
export interface ExportMaterial {
  adapter: PeftAdapter
  base: FileSource
  model: Pick<ModelRecord, 'name' | 'family' | 'parameters' | 'dtype' | 'layers'>
  /** The base model's licence, where it is stated. */
  licence?: string
  tokenizer: Tokenizer
  template: ChatTemplate
  /** Of the tuned model, for people. */
  name: string
  training: TrainingRecord | null
}

/** What is written, and how what was read back is compared with it. */
export interface ExportPlan {
  /** File name without an ending: made of the name. */
  stem: string
  files: OutFile[]
  /** @throws CodedError `export.verify` */
  verify(back: FileSource): Promise<Verification>
}

type Part = Pick<ExportPlan, 'files' | 'verify'>

const PLANS: Record<ExportFormat, (material: ExportMaterial, dtype: ExportDtype | undefined) => Part | Promise<Part>> =
  { peft: planPeft, merged: planMerged, gguf: planGguf, 'gguf-lora': planGgufLora, mlx: planMlx }

/**
 * A format's files with model card, settings and curve. Nothing large is made before a file's chunks are asked for.
 * @param dtype of whole models; as the base is stored where left out.
 * @throws CodedError `usage` for a type that the format does not have; `adapter.*`, `model.*`.
 */
export async function planExport(
  format: ExportFormat,
  material: ExportMaterial,
  dtype?: ExportDtype,
): Promise<ExportPlan> {
  if (format !== 'peft' && classesOf(material.adapter))
    throw new CodedError('adapter.unsupported', 'This format has no place for a classification head.', {
      where: format,
      fix: 'Export it as a PEFT adapter.',
    })
  refuseWithoutPlace(format, material.adapter)
  const dtypes = dtypesOf(format)
  if (dtype !== undefined && !dtypes.includes(dtype)) {
    throw new CodedError('usage', `${format} files cannot be written as ${dtype}.`, {
      where: dtype,
      fix: dtypes.length > 0 ? `Use one of ${dtypes.join(', ')}.` : 'This format has only one type: leave it out.',
    })
  }
  const plan = await PLANS[format](material, dtype)
  const card = bytesFile('README.md', cardOf(material, format))
  return { ...plan, stem: stemOf(material.name), files: [...plan.files, card, ...recordFiles(material.training)] }
}

/** @throws CodedError `adapter.unsupported` where a format has no place for what the adapter's method learns. */
function refuseWithoutPlace(format: ExportFormat, { config }: PeftAdapter): void {
  const job = jobOf(config)
  const formats = exportFormatsOf(job)
  if (formats.includes(format)) return
  const what =
    job.method === 'full'
      ? 'Trained weights of a whole model are no adapter.'
      : 'This format has no place for what this method learns.'
  throw new CodedError('adapter.unsupported', what, { where: format, fix: `Export it as ${formats.join(' or ')}.` })
}

function planPeft({ adapter }: ExportMaterial): Part {
  return {
    files: writePeft(adapter).map(({ name, bytes }) => bytesFile(name, bytes)),
    verify: async (back) => compareTensors(adapter.tensors, (await readPeft(back)).tensors),
  }
}

const STORED = { f32: 'F32', f16: 'F16', bf16: 'BF16', q8_0: 'Q8_0' } as const

async function planMerged(material: ExportMaterial, dtype: ExportDtype | undefined): Promise<Part> {
  const { adapter, base, tokenizer } = material
  const options = { chatTemplate: trainedTemplate(material), eosIds: [...tokenizer.endIds] }
  const type = dtype === undefined ? 'same' : (STORED[dtype] as 'F32' | 'F16' | 'BF16')
  return {
    files: await mergedFolder(base, adapter, { ...options, dtype: type }),
    async verify(back) {
      const unties = becomesUntied(parseConfig(await base.read('config.json')), adapter)
      return compareWeights(mergeWeights(await openWeights(base), adapter, unties), await openWeights(back))
    },
  }
}

function parseConfig(bytes: Uint8Array): Record<string, unknown> {
  return JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>
}

async function planGguf(material: ExportMaterial, dtype: ExportDtype | undefined): Promise<Part> {
  const { adapter, base, model, name, template, tokenizer } = material
  const fileName = `${stemOf(name)}.gguf`
  const chatTemplate = trainedTemplate(material)
  const usual = model.dtype === 'F32' ? 'f32' : 'f16'
  const type = STORED[dtype ?? usual]
  const { file, tensors } = await exportGguf({ source: base, adapter, tokenizer, chatTemplate, type, name, fileName })
  const ollama = modelfile({ from: `./${fileName}`, chatTemplate: template, tokenizer })
  return {
    files: [file, bytesFile('Modelfile', ollama)],
    verify: async (back) => ggufVerification(await checkGguf(back, file.name, tensors)),
  }
}

async function planGgufLora({ adapter, base, model, name, template, tokenizer }: ExportMaterial): Promise<Part> {
  const fileName = `${stemOf(name)}-lora.gguf`
  const { file, tensors } = await exportGgufLora({ source: base, adapter, name, fileName })
  const ollama = modelfile({ from: model.name, adapter: `./${fileName}`, chatTemplate: template, tokenizer })
  return {
    files: [file, bytesFile('Modelfile', ollama)],
    verify: async (back) => ggufVerification(await checkGguf(back, file.name, tensors)),
  }
}

function planMlx({ adapter, model }: ExportMaterial): Part {
  return {
    files: mlxAdapter(adapter, model.layers),
    // mlx-lm has one rank and scale for all layers: what must be the same is what each layer's product adds.
    verify: async (back) => compareDeltas(loraDeltas(adapter), loraDeltas(await readMlx(back))),
  }
}

function ggufVerification(found: { tensors: number; largestDifference: number }): Verification {
  const { tensors, largestDifference } = found
  const difference = differenceText(largestDifference)
  const text = `Read back and compared: ${tensors} tensors; largest difference ${difference}, rounding included.`
  return { ...found, text }
}

/** Settings and curve, for people and other tools. */
function recordFiles(training: TrainingRecord | null): OutFile[] {
  if (!training) return []
  return [
    jsonFile('job.json', training.job),
    bytesFile('metrics.csv', metricsToCsv(new MetricBuffer(training.metrics))),
    jsonFile('trainer_state.json', trainerState(training)),
  ]
}

function cardOf({ model, name, licence, training }: ExportMaterial, kind: ExportFormat): string {
  const base = { name: model.name, family: model.family, parameters: model.parameters, licence }
  if (!training) return modelCard({ name, kind, base })
  const { job, data, step, lastLoss, bestStep, bestEvalLoss, metrics } = training
  const evaluations = Array.from(metrics.evalLoss, (evalLoss, i) => ({ step: metrics.step[i] as number, evalLoss }))
  const measured = evaluations.filter(({ evalLoss }) => Number.isFinite(evalLoss))
  const results = { steps: step, lastLoss, bestStep, bestEvalLoss, evaluations: measured }
  return modelCard({ name, kind, base, training: { job, data, results } })
}

/** The template that answers came to expect: the model's own, or the built-in one that chats were trained through. */
function trainedTemplate({ training, template }: ExportMaterial): string | undefined {
  const format = training?.mapping.format
  return template.builtIn === null || format === 'chat' || format === 'sharegpt' ? template.source : undefined
}

/** A name as every file system takes it. */
export function stemOf(name: string): string {
  return name.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '') || 'adapter'
}
