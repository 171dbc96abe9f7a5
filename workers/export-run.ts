/**
 * A run's adapter in the form that other tools take, as a zip that was read back and compared before it is offered.
 * Refuses to offer a file that does not hold what the run holds.
 */
import { downloadZip } from 'client-zip'
import { openWeights, type Weights } from '../src/engine/formats/checkpoint-index'
import { checkGguf, exportGguf, exportGgufLora } from '../src/engine/formats/gguf-export'
import { mergeWeights } from '../src/engine/formats/merge'
import { mergedFolder } from '../src/engine/formats/merged'
import { mlxAdapter, readMlx } from '../src/engine/formats/mlx'
import { modelCard } from '../src/engine/formats/model-card'
import { modelfile } from '../src/engine/formats/modelfile'
import { bytesFile, type OutFile } from '../src/engine/formats/out-file'
import { loraDeltas, readPeft, writePeft, type PeftAdapter } from '../src/engine/formats/peft'
import { toFloat32 } from '../src/engine/formats/safetensors'
import { readZip } from '../src/engine/formats/zip'
import { loadTokenizer, type Tokenizer } from '../src/engine/tokenizer'
import { loadChatTemplate, type ChatTemplate } from '../src/engine/tokenizer/chat-template'
import { CodedError } from '../src/shared/errors'
import type { FileSource, OnProgress } from '../src/shared/files'
import type { ExportRequest, ExportResult } from '../src/shared/protocol'
import type { RunRecord, TensorData } from '../src/shared/records'
import * as storage from '../src/storage'
import { adapterOf } from './adapters'
import { bundledModel, isBundled, modelSource } from './sources'

type Format = ExportRequest['format']

/** Everything that is written from. */
interface Material {
  run: RunRecord
  adapter: PeftAdapter
  base: FileSource
  tokenizer: Tokenizer
  template: ChatTemplate
  /** Of files, without an ending. */
  stem: string
}
/** What is written, and how what was read back is compared with it. */
interface Plan {
  files: OutFile[]
  /** One sentence with the largest difference. @throws CodedError `export.verify` */
  verify(back: FileSource): Promise<string>
}

const PLANS: Record<Format, (material: Material) => Plan | Promise<Plan>> = {
  peft: planPeft,
  merged: planMerged,
  gguf: planGguf,
  'gguf-lora': planGgufLora,
  mlx: planMlx,
}

/** See EngineApi.exportRun. */
export async function exportRun(request: ExportRequest, onProgress: OnProgress): Promise<ExportResult> {
  const run = await storage.getRun(request.runId)
  if (!run) {
    throw new CodedError('run.missing', 'This run is no longer stored.', {
      where: request.runId,
      fix: 'It may have been deleted in another tab.',
    })
  }
  const tell = (stage: string, done: number) => onProgress({ stage, done, total: 3, unit: 'items' })
  tell('Reading the checkpoint', 0)
  const material = await gather(run, request)
  const plan = await PLANS[request.format](material)
  tell('Writing the files', 1)
  const card = bytesFile('README.md', await cardOf(material, request.format))
  const files = [...plan.files, card].map((file) => ({ name: file.name, size: file.size, input: file.chunks() }))
  const blob = await downloadZip(files).blob()
  tell('Reading them back', 2)
  const verification = await plan.verify(await readZip(blob))
  tell('Done', 3)
  return { name: `${material.stem}-${request.format}.zip`, blob, verification }
}

async function gather(run: RunRecord, request: ExportRequest): Promise<Material> {
  const adapter = await adapterOf(run.id, request.checkpoint, run.model.name)
  const base = await modelSource(run.job.model)
  const tokenizer = await loadTokenizer(base)
  const template = await loadChatTemplate(base, tokenizer)
  return { run, adapter, base, tokenizer, template, stem: fileName(run.name) }
}

function planPeft({ adapter }: Material): Plan {
  return {
    files: writePeft(adapter).map(({ name, bytes }) => bytesFile(name, bytes)),
    async verify(back) {
      const { tensors } = await readPeft(back)
      const names = Object.keys(adapter.tensors)
      const wrong = names.find((name) => !sameTensor(adapter.tensors[name] as TensorData, tensors[name]))
      const added = Object.keys(tensors).find((name) => !(name in adapter.tensors))
      if (wrong !== undefined || added !== undefined || names.length === 0)
        throw differs(wrong ?? added ?? 'no tensors')
      return `Read back and compared: all ${names.length} tensors are the same to the last bit; largest difference 0.`
    },
  }
}

async function planMerged({ adapter, base, run, template, tokenizer }: Material): Promise<Plan> {
  const chatTemplate = trainedTemplate(run, template)
  const eosIds = [...tokenizer.endIds]
  return {
    files: await mergedFolder(base, adapter, { dtype: 'same', chatTemplate, eosIds }),
    async verify(back) {
      const [wanted, written] = [mergeWeights(await openWeights(base), adapter), await openWeights(back)]
      return compareWeights(wanted, written)
    },
  }
}

async function planGguf({ adapter, base, run, stem, template, tokenizer }: Material): Promise<Plan> {
  const fileName = `${stem}.gguf`
  const chatTemplate = trainedTemplate(run, template)
  const type = run.model.dtype === 'F32' ? 'F32' : 'F16'
  const { file, tensors } = await exportGguf({
    source: base,
    adapter,
    tokenizer,
    chatTemplate,
    type,
    name: run.name,
    fileName,
  })
  const ollama = modelfile({ from: `./${fileName}`, chatTemplate: template, tokenizer })
  return {
    files: [file, bytesFile('Modelfile', ollama)],
    verify: async (back) => ggufSentence(await checkGguf(back, file.name, tensors)),
  }
}

async function planGgufLora({ adapter, base, run, stem, template, tokenizer }: Material): Promise<Plan> {
  const fileName = `${stem}-lora.gguf`
  const { file, tensors } = await exportGgufLora({ source: base, adapter, name: run.name, fileName })
  const ollama = modelfile({ from: run.model.name, adapter: `./${fileName}`, chatTemplate: template, tokenizer })
  return {
    files: [file, bytesFile('Modelfile', ollama)],
    verify: async (back) => ggufSentence(await checkGguf(back, file.name, tensors)),
  }
}

function planMlx({ adapter, run }: Material): Plan {
  return {
    files: mlxAdapter(adapter, run.model.layers),
    async verify(back) {
      // mlx-lm has one rank and scale for all layers: what must be the same is what each layer's product adds.
      const [own, read] = [loraDeltas(adapter), loraDeltas(await readMlx(back))]
      let largest = 0
      for (const delta of own) {
        const other = read.find(({ module }) => module === delta.module)
        if (!other) throw differs(delta.module)
        const rows = Math.min(16, delta.b.shape[0] as number)
        const [a, b] = [productRows(delta, rows), productRows(other, rows)]
        for (const [i, value] of a.entries()) largest = Math.max(largest, Math.abs(value - (b[i] as number)))
      }
      if (own.length !== read.length || !(largest < 1e-5)) throw differs(`a difference of ${largest}`)
      return `Read back and compared: ${own.length} layers; largest difference ${largest.toExponential(1)}.`
    },
  }
}

/** The first rows of scale · B · A. */
function productRows(delta: ReturnType<typeof loraDeltas>[number], rows: number): Float64Array {
  const [a, b] = [toFloat32(delta.a), toFloat32(delta.b)]
  const [rank, inn] = delta.a.shape as [number, number]
  const result = new Float64Array(rows * inn)
  for (let row = 0; row < rows; row++) {
    for (let r = 0; r < rank; r++) {
      const factor = delta.scale * (b[row * rank + r] as number)
      for (let i = 0; i < inn; i++) (result[row * inn + i] as number) += factor * (a[r * inn + i] as number)
    }
  }
  return result
}

/** Compares every tensor by value; a half-precision file may differ by its own rounding and no more. */
async function compareWeights(wanted: Weights, written: Weights): Promise<string> {
  let largest = 0
  for (const name of written.names) {
    const tensor = await written.read(name)
    const wantedName = wanted.names.includes(name) ? name : wanted.names.find((other) => other.endsWith(name))
    if (wantedName === undefined) throw differs(name)
    const [a, b] = [toFloat32(await wanted.read(wantedName)), toFloat32(tensor)]
    if (a.length !== b.length) throw differs(name)
    const step = { F32: 0, F16: 2 ** -11, BF16: 2 ** -8 }[tensor.dtype as 'F32' | 'F16' | 'BF16'] ?? 0
    for (let i = 0; i < a.length; i++) {
      const difference = Math.abs((a[i] as number) - (b[i] as number))
      if (!(difference <= step * Math.abs(a[i] as number) + (step > 0 ? 6e-8 : 0))) throw differs(name)
      if (difference > largest) largest = difference
    }
  }
  if (written.names.length < wanted.names.length)
    throw differs(`${wanted.names.length - written.names.length} tensors missing`)
  return `Read back and compared with base + adapter: ${written.names.length} tensors; largest difference ${largest.toExponential(1)}.`
}

function ggufSentence({ tensors, largestDifference }: { tensors: number; largestDifference: number }): string {
  return `Read back and compared: ${tensors} tensors; largest difference ${largestDifference.toExponential(1)}, rounding included.`
}

async function cardOf({ run }: Material, kind: Format): Promise<string> {
  const { model, dataset, job } = run
  const metrics = await storage.getMetrics(run.id)
  const evaluations = Array.from(metrics?.evalLoss ?? [], (evalLoss, i) => ({
    step: metrics?.step[i] as number,
    evalLoss,
  }))
  const licence = isBundled(job.model) ? (await bundledModel(job.model)).licence : undefined
  return modelCard({
    ...{ name: run.name, kind, job },
    base: { name: model.name, family: model.family, parameters: model.parameters, licence },
    data: { name: dataset.name, description: dataset.description, trainRows: run.trainRows, evalRows: run.evalRows },
    results: {
      ...{ steps: run.step, lastLoss: run.lastLoss, bestStep: run.bestStep, bestEvalLoss: run.bestEvalLoss },
      evaluations: evaluations.filter(({ evalLoss }) => Number.isFinite(evalLoss)),
    },
  })
}

/** The template that answers came to expect: the model's own, or the built-in one that chats were trained through. */
function trainedTemplate({ dataset }: RunRecord, template: ChatTemplate): string | undefined {
  const chats = dataset.mapping.format === 'chat' || dataset.mapping.format === 'sharegpt'
  return template.builtIn === null || chats ? template.source : undefined
}

function sameTensor(a: TensorData, b: TensorData | undefined): boolean {
  if (!b || a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) return false
  return a.bytes.byteLength === b.bytes.byteLength && a.bytes.every((byte, at) => byte === b.bytes[at])
}

function differs(where: string): CodedError {
  return new CodedError('export.verify', 'What was written does not read back as it is.', {
    where,
    fix: 'Export it again; if it happens again, report it.',
  })
}

function fileName(name: string): string {
  return name.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-|-$/g, '') || 'adapter'
}
