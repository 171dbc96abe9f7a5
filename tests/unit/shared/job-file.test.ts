/** A run's job file: what it says, that it survives JSON, and what is refused. */
import { expect, test } from 'vitest'
import { asJobFile, jobFileOf } from '../../../src/shared/job-file'
import { defaultJob } from '../../../src/shared/job'
import type { RunRecord } from '../../../src/shared/records'

const { optimizer: _later, ...older } = defaultJob()
const run = {
  name: 'Voices',
  job: { ...older, model: 'bundled:stories-3m', data: 'local:7', rank: 8, backend: 'auto' },
  model: { id: 'bundled:stories-3m', name: 'Stories 3M' },
  dataset: { id: 'local:7', name: 'voices', file: 'voices.csv', mapping: { format: 'pair', columns: { prompt: 'q' } } },
  ...{ backend: 'wasm', trainRows: 9, evalRows: 1, rowsHash: 'abc' },
} as unknown as RunRecord

test('holds every setting, the device that computed, what the columns meant and which rows', () => {
  const file = asJobFile(JSON.parse(JSON.stringify(jobFileOf(run))) as object)
  expect(file).toMatchObject({ run: 'Voices', rowsHash: 'abc', dataset: { file: 'voices.csv', trainRows: 9 } })
  expect(file?.dataset.mapping).toEqual({ format: 'pair', columns: { prompt: 'q' } })
  expect(file?.job).toEqual({ ...defaultJob(), model: 'bundled:stories-3m', data: 'local:7', rank: 8, backend: 'wasm' })
})

test('a plain object of settings is none; a broken one is refused', () => {
  expect(asJobFile({ rank: 8 })).toBeNull()
  const file = jobFileOf(run)
  expect(() => asJobFile({ ...file, version: 2 })).toThrow(/another version/)
  expect(() => asJobFile({ ...file, job: { ...file.job, rank: -1 } })).toThrow(/LoRA rank/)
})
