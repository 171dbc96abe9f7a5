/** A run's job with its rows for larger machines, as a zip or in a picked folder. Refuses rows that are no longer as the run found them. */
import { handoffRows, runSides } from '../src/data'
import { handoffFiles } from '../src/engine/export/handoff/files'
import { stemOf } from '../src/engine/export/plan'
import { loadTokenizer } from '../src/engine/tokenizer'
import { loadChatTemplate } from '../src/engine/tokenizer/chat-template'
import { CodedError } from '../src/shared/errors'
import type { OnProgress } from '../src/shared/files'
import { currentJob } from '../src/shared/job'
import type { ExportResult, HandoffRequest } from '../src/shared/protocol'
import { adapterOf } from './adapters'
import { compareBytes, deliver } from './deliver'
import { storedRun } from './export-run'
import { modelSource, openDataset } from './sources'

/** See EngineApi.handOff. */
export async function handOff(
  request: HandoffRequest,
  onProgress: OnProgress,
  signal: AbortSignal,
): Promise<ExportResult> {
  const run = await storedRun(request.runId)
  if (run.status === 'imported')
    throw new CodedError('usage', 'It is not known how this adapter was trained.', {
      where: run.name,
      fix: 'Hand on a run that was trained here.',
    })
  const job = currentJob(run.job)
  const source = await modelSource(job.model)
  const tokenizer = await loadTokenizer(source)
  const template = await loadChatTemplate(source, tokenizer)
  const { rows, record } = await openDataset(job.data, run.dataset.revision ?? '')
  const held = job.evalData ? await openDataset(job.evalData) : null
  const evaluation = held ? { rows: held.rows, mapping: held.record.mapping } : undefined
  const { mapping } = run.dataset
  const options = { evaluation, total: record.rows, onProgress, signal }
  const side = await runSides(rows, mapping, tokenizer, template, job, options)
  onProgress({ stage: 'Writing the rows', done: 0, total: 0, unit: 'rows' })
  const { layers, name: baseName } = run.model
  const start = job.initAdapter ? await adapterOf(job.initAdapter, 'best', baseName) : null
  const files = handoffFiles({
    ...(await handoffRows(rows, mapping, job, template.builtIn === null, side, evaluation)),
    ...{ job, model: request.model, name: run.name, template, layers, start },
  })
  return deliver({
    ...{ files, folder: request.folder, onProgress, signal },
    name: `${stemOf(run.name)}-cluster`,
    check: (back) => compareBytes(files, back),
  })
}
