/** Records for tests that store things without training. */
import { defaultJob } from '../../../src/shared/job'
import { METRIC_COLUMNS, type MetricColumns } from '../../../src/shared/metrics'
import { storeDataset } from '../../../src/storage'
import type { Checkpoint, DatasetRecord, ModelRecord, RunRecord } from '../../../src/shared/records'

let count = 0
export const freshId = (kind: string) => `${kind}-${Date.now()}-${count++}`

export function modelRecord(id: string): ModelRecord {
  const shape = {
    hiddenSize: 8,
    intermediateSize: 16,
    layers: 1,
    heads: 2,
    kvHeads: 1,
    headDim: 4,
    vocabulary: 10,
    tiedHead: true,
  }
  return {
    ...{ id, name: id, family: 'llama', parameters: 100, vocabulary: 10, context: 32, layers: 1, hidden: 8 },
    ...{ bytes: 400, dtype: 'F32', hasChatTemplate: false, addedAt: 1, shape },
  }
}

export function datasetRecord(id: string, rows = 0): DatasetRecord {
  const mapping = { format: 'text' as const, columns: { text: 'text' } }
  return { id, name: id, file: 'x.jsonl', bytes: 1, rows, problems: 0, mapping, why: '', columns: ['text'], addedAt: 1 }
}

export function runRecord(id: string, change: Partial<RunRecord> = {}): RunRecord {
  return {
    ...{ id, name: id, job: defaultJob(), model: modelRecord('m'), dataset: datasetRecord('d'), status: 'new' },
    ...{ createdAt: 1, updatedAt: 1, step: 0, totalSteps: 0, lastLoss: null, bestStep: null, bestEvalLoss: null },
    ...{ trainRows: 0, evalRows: 0, trainableParameters: 0, backend: 'wasm', samples: [], marks: [], checkpoints: [] },
    error: null,
    ...change,
  }
}

/** Stores a dataset with these rows and nothing set aside. */
export async function putDataset(record: DatasetRecord, rows: readonly object[]): Promise<void> {
  await storeDataset(record.id, async (append) => {
    await append(rows)
    return { record, problems: [] }
  })
}

/** Rows of one metric; everything else was not measured. */
export function metricColumns(rows: Partial<Record<(typeof METRIC_COLUMNS)[number], number>>[]): MetricColumns {
  return Object.fromEntries(
    METRIC_COLUMNS.map((name) => [name, Float64Array.from(rows, (row) => row[name] ?? Number.NaN)]),
  ) as MetricColumns
}

/** A checkpoint whose every tensor is filled with its step, so that a mixture of two shows. */
export function checkpointAt(step: number, tensors = 2, bytes = 16): Checkpoint {
  const names = Array.from({ length: tensors }, (_, index) => `adapter/${index}`)
  return {
    meta: {
      ...{
        version: 1,
        job: defaultJob(),
        step,
        totalSteps: 100,
        cursor: { position: step, seed: 1 },
        tokensSeen: step,
      },
      ...{ time: step, bestStep: step, bestEvalLoss: 1 / step, evalsWithoutBest: 0, samples: [], marks: [] },
      metrics: metricColumns(Array.from({ length: step }, (_, index) => ({ step: index + 1, loss: 1, evalLoss: 2 }))),
    },
    tensors: Object.fromEntries(
      names.map((name) => [name, { dtype: 'U8', shape: [bytes], bytes: new Uint8Array(bytes).fill(step) }]),
    ),
  }
}
