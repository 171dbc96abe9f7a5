/**
 * The data worker: imports files, previews and counts rows. Refuses to touch a device.
 */
import { serve } from '../src/client/wire'
import {
  addStep,
  asSupervised,
  audit,
  datasetStats,
  importFiles,
  NO_STEPS,
  previewRow,
  readRecipe,
  redoStep,
  removeStep,
  sidesOf,
  toRecipe,
  undoStep,
  withSides,
  type AuditOptions,
  type AuditReport,
  type Finding,
  type RawRow,
  type Step,
  type StepHistory,
  type SteppedRows,
} from '../src/data'
import { loadChatTemplate, type ChatTemplate } from '../src/engine/tokenizer/chat-template'
import { loadTokenizer, type Tokenizer } from '../src/engine/tokenizer'
import { CodedError } from '../src/shared/errors'
import { newId } from '../src/shared/id'
import type { AuditRequest, AuditSummary, DataApi, StepChange, StepList } from '../src/shared/protocol'
import type { DatasetId, Mapping, ModelId } from '../src/shared/records'
import * as storage from '../src/storage'
import { givenFiles } from './data-files'
import { allDatasets, cameWithPage, modelSource, openDataset, putSteps } from './sources'
import { exportRows, findingsByRow, queryRows, tableRows } from './table'

/** Rows that are looked through first where there are many, so that the first answer is fast. */
const FIRST = 2000
/** Rows that background work reads at once. */
const STRETCH = 1024

let importing: AbortController | null = null
let searching: AbortController | null = null
const waitedFor = new Set<Promise<void>>()
let counting: AbortController | null = null
let auditing: AbortController | null = null
let audited: { id: DatasetId; revision: string; byRow: Map<number, Finding[]> } | null = null
let open: { id: DatasetId; dataset: ReturnType<typeof openDataset> } | null = null
let reader: { id: ModelId; opened: Promise<{ tokenizer: Tokenizer; template: ChatTemplate }> } | null = null

const api: DataApi = {
  listDatasets: allDatasets,

  async importDataset(source, onProgress) {
    if (importing) {
      throw new CodedError('usage', 'Another file is being added.', { fix: 'Wait for it, or cancel it first.' })
    }
    const cancel = (importing = new AbortController())
    const id = `local:${newId()}`
    try {
      return await storage.storeDataset(id, async (append) => {
        const { files, ...given } = await givenFiles(source, cancel.signal)
        const { count, problems, ...data } = await importFiles(files, onProgress, cancel.signal, append)
        cancel.signal.throwIfAborted()
        const { mapping, why, columns } = data
        const record = { id, ...given, rows: count, problems: problems.length }
        return { record: { ...record, mapping, why, columns, addedAt: Date.now() }, problems }
      })
    } finally {
      importing = null
    }
  },

  async cancelImport() {
    importing?.abort()
  },

  async renameDataset(id, name) {
    if (cameWithPage(id)) throw new CodedError('usage', 'Samples come with the page and keep their names.')
    await storage.updateDataset(id, { name })
  },

  async deleteDataset(id) {
    if (cameWithPage(id)) throw new CodedError('usage', 'Samples come with the page and cannot be deleted.')
    open = null
    await storage.deleteDataset(id)
  },

  async problems(id) {
    return cameWithPage(id) ? [] : storage.readProblems(id)
  },

  async preview({ datasetId, mapping, modelId, maxLength, trainOn }, positions) {
    const { tokenizer, template } = await openReader(modelId)
    const { rows } = await opened(datasetId)
    const there = positions.filter((position) => position < rows.count)
    const picked = await rows.pick(there)
    return picked.map((row, i) =>
      previewRow(row, there[i] as number, mapping, tokenizer, template, { maxLength, trainOn }),
    )
  },

  async stats({ datasetId, mapping, modelId, maxLength, trainOn }, split, onProgress) {
    // Who asks again no longer wants the last answer.
    counting?.abort()
    const { signal } = (counting = new AbortController())
    const { tokenizer, template } = await openReader(modelId)
    const { rows } = await opened(datasetId)
    const options = { maxLength, trainOn, ...split }
    return datasetStats(politely(rows), mapping, tokenizer, template, options, {
      total: rows.count,
      onProgress,
      signal,
    })
  },

  steps: listSteps,

  async changeSteps(request, change, onProgress) {
    auditing?.abort()
    const { signal } = (auditing = new AbortController())
    const { history } = await openDataset(request.datasetId)
    // What a step finds follows from the rows themselves, and from datasets that it names.
    const { evaluation: _held, ...settings } = await auditOptions(request)
    const options = { ...settings, other: supervised, onProgress, signal }
    await putSteps(request.datasetId, changedHistory(history, change), options)
    open = null
    return listSteps(request.datasetId)
  },

  async recipe(id) {
    return toRecipe((await opened(id)).history)
  },

  async readRecipe(file) {
    const text = await file.text()
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      value = null
    }
    return readRecipe(value)
  },

  async audit(request, onPart, onProgress) {
    auditing?.abort()
    const { signal } = (auditing = new AbortController())
    const { rows } = await opened(request.datasetId)
    const options = { ...(await auditOptions(request)), onProgress, signal }
    const look = async (some: Iterable<RawRow> | AsyncIterable<RawRow>, total: number) => {
      const report = await audit(some, rows.mapping, { ...options, total })
      audited = { id: request.datasetId, revision: request.revision, byRow: findingsByRow(report) }
      return report
    }
    if (rows.count > 2 * FIRST) onPart(summaryOf(await look(await rows.slice(0, FIRST), FIRST), false))
    return summaryOf(await look(politely(rows), rows.count), true)
  },

  async cancelAudit() {
    auditing?.abort()
  },

  async query(query, onProgress) {
    searching?.abort()
    const { signal } = (searching = new AbortController())
    const { rows } = await opened(query.datasetId)
    const findings = await findingsOf(query.datasetId)
    return first(() => queryRows(rows, query, findings, onProgress, signal))
  },

  async tableRows(id, positions) {
    const { rows } = await opened(id)
    const findings = await findingsOf(id)
    return first(() => tableRows(rows, positions, findings))
  },

  async wholeRow(id, position) {
    const [row] = await (await opened(id)).rows.slice(position, position + 1)
    if (!row) throw new CodedError('usage', 'This row is no longer there.')
    return row
  },

  async rowSides(id, position) {
    const { rows } = await opened(id)
    return sidesOf(await api.wholeRow(id, position), asSupervised(rows.mapping))
  },

  async variedRow(id, position, sides) {
    const { rows } = await opened(id)
    return withSides(await api.wholeRow(id, position), asSupervised(rows.mapping), sides)
  },

  async exportRows(id, request, onProgress) {
    return exportRows((await opened(id)).rows, request, onProgress)
  },
}

/** Work that a person waits for goes before what is counted in the background. */
async function first<T>(work: () => Promise<T>): Promise<T> {
  const done = work()
  const entry = done.then(
    () => void waitedFor.delete(entry),
    () => void waitedFor.delete(entry),
  )
  waitedFor.add(entry)
  return done
}

/** Rows for work in the background, which rests while a person waits for something. */
async function* politely(rows: SteppedRows): AsyncGenerator<RawRow> {
  for (let from = 0; from < rows.count; from += STRETCH) {
    while (waitedFor.size > 0) await Promise.all(waitedFor)
    yield* await rows.slice(from, from + STRETCH)
  }
}

/** A dataset after its steps; the last one is kept. */
function opened(id: DatasetId): ReturnType<typeof openDataset> {
  if (open?.id === id) return open.dataset
  const dataset = openDataset(id)
  const entry = (open = { id, dataset })
  dataset.catch(() => {
    if (open === entry) open = null
  })
  return dataset
}

/** What the last audit found, if it was of these very rows. */
async function findingsOf(id: DatasetId): Promise<Map<number, Finding[]>> {
  const { record } = await opened(id)
  return audited && audited.id === id && audited.revision === (record.revision ?? '') ? audited.byRow : new Map()
}

/** The rows of any dataset, to be compared with. */
async function supervised(id: DatasetId): Promise<{ rows: SteppedRows; mapping: Mapping }> {
  const { rows } = await openDataset(id)
  return { rows, mapping: asSupervised(rows.mapping) }
}

async function auditOptions(request: AuditRequest): Promise<AuditOptions> {
  const { datasetId, revision: _revision, modelId, evalData, evalRevision: _state, ...settings } = request
  const model = modelId === null ? {} : { model: await openReader(modelId) }
  const held = evalData === '' || evalData === datasetId ? {} : { evaluation: await supervised(evalData) }
  return { ...settings, ...model, ...held }
}

function summaryOf({ findings: _findings, ...report }: AuditReport, complete: boolean): AuditSummary {
  return { ...report, complete }
}

function changedHistory(history: StepHistory, change: StepChange): StepHistory {
  if (change === 'undo') return undoStep(history)
  if (change === 'redo') return redoStep(history)
  if (change === 'clear') return NO_STEPS
  if ('remove' in change) return removeStep(history, change.remove)
  return change.add.reduce((all, step) => {
    // Corrections of the columns one after the other are one correction.
    const replaces = step.kind === 'map' && all.done.at(-1)?.kind === 'map'
    return addStep(replaces ? { ...all, done: all.done.slice(0, -1) } : all, step)
  }, history)
}

async function listSteps(id: DatasetId): Promise<StepList> {
  const { rows, history, file } = await opened(id)
  const shown = (step: Step): Step =>
    step.kind === 'drop-findings' || step.kind === 'drop-shared' ? withoutRows(step) : step
  const done = history.done.map((step, i) => ({ step: shown(step), rows: rows.counts[i] as number }))
  return { done, rows: file.rows, undone: history.undone.length }
}

function withoutRows({ rows: _rows, ...step }: Extract<Step, { kind: 'drop-findings' | 'drop-shared' }>): Step {
  return step
}

/** The tokenizer and template of a model; the last one is kept. */
function openReader(id: ModelId): Promise<{ tokenizer: Tokenizer; template: ChatTemplate }> {
  if (reader?.id === id) return reader.opened
  const opened = (async () => {
    const source = await modelSource(id)
    const tokenizer = await loadTokenizer(source)
    return { tokenizer, template: await loadChatTemplate(source, tokenizer) }
  })()
  reader = { id, opened }
  opened.catch(() => (reader = null))
  return opened
}

serve(api)
void storage.cleanDatasets().catch(() => {})
