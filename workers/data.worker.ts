/**
 * The data worker: imports files, previews and counts rows. Refuses to touch a device.
 */
import { serve } from '../src/client/wire'
import { datasetStats, importFile, previewRow } from '../src/data'
import { loadChatTemplate, type ChatTemplate } from '../src/engine/tokenizer/chat-template'
import { loadTokenizer, type Tokenizer } from '../src/engine/tokenizer'
import { CodedError } from '../src/shared/errors'
import { newId } from '../src/shared/id'
import type { DataApi } from '../src/shared/protocol'
import type { ModelId } from '../src/shared/records'
import * as storage from '../src/storage'
import { allDatasets, cameWithPage, changeDataset, modelSource, openDataset } from './sources'

let importing: AbortController | null = null
let counting: AbortController | null = null
let reader: { id: ModelId; opened: Promise<{ tokenizer: Tokenizer; template: ChatTemplate }> } | null = null

const api: DataApi = {
  listDatasets: allDatasets,

  async importDataset(source, onProgress) {
    if (importing) {
      throw new CodedError('usage', 'Another file is being added.', { fix: 'Wait for it, or cancel it first.' })
    }
    const cancel = (importing = new AbortController())
    const file = source instanceof File ? source : new File([source.text], source.name)
    const id = `local:${newId()}`
    try {
      return await storage.storeDataset(id, async (append) => {
        const input = { name: file.name, stream: file.stream(), size: file.size }
        const { count, problems, ...data } = await importFile(input, onProgress, cancel.signal, append)
        cancel.signal.throwIfAborted()
        const { mapping, why, columns } = data
        const name = file.name.replace(/(\.(jsonl?|csv|tsv|txt|md|parquet|gz))+$/i, '') || file.name
        const record = { id, name, file: file.name, bytes: file.size, rows: count, problems: problems.length }
        return { record: { ...record, mapping, why, columns, addedAt: Date.now() }, problems }
      })
    } finally {
      importing = null
    }
  },

  async cancelImport() {
    importing?.abort()
  },

  updateDataset: changeDataset,

  async deleteDataset(id) {
    if (cameWithPage(id)) throw new CodedError('usage', 'Samples come with the page and cannot be deleted.')
    await storage.deleteDataset(id)
  },

  async problems(id) {
    return cameWithPage(id) ? [] : storage.readProblems(id)
  },

  async preview({ datasetId, mapping, modelId, maxLength, trainOn }, from, to) {
    const { tokenizer, template } = await openReader(modelId)
    const rows = await (await openDataset(datasetId)).slice(from, to)
    return rows.map((row, i) => previewRow(row, from + i, mapping, tokenizer, template, { maxLength, trainOn }))
  },

  async stats({ datasetId, mapping, modelId, maxLength, trainOn }, split, onProgress) {
    // Who asks again no longer wants the last answer.
    counting?.abort()
    const { signal } = (counting = new AbortController())
    const { tokenizer, template } = await openReader(modelId)
    const { record, rows } = await openDataset(datasetId)
    const options = { maxLength, trainOn, ...split }
    return datasetStats(rows, mapping, tokenizer, template, options, { total: record.rows, onProgress, signal })
  },
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
