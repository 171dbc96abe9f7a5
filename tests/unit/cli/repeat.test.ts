/** A run's job file on the command line: found beside it, mapped as on the page, and said so where rows or places are not the same. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Given } from '../../../src/cli/flags'
import { Output } from '../../../src/cli/output'
import { checkSameRows, resolvePlaces } from '../../../src/cli/repeat'
import { readJobFile } from '../../../src/cli/settings'
import { fingerprintRows } from '../../../src/data'
import { defaultJob } from '../../../src/shared/job'
import type { JobFile } from '../../../src/shared/job-file'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'finetab-'))
  await writeFile(join(folder, 'voices.csv'), 'q,a\n1,2\n')
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const row = { index: 0, inputIds: Int32Array.of(1, 2, 3), labels: Int32Array.of(-100, 2, 3) }
const rows = { train: [row], eval: [], mixed: [], skipped: [], truncatedRows: 0 }

function file(change: Partial<JobFile['job']> = {}, more: Partial<JobFile> = {}): JobFile {
  return {
    ...{ kind: 'finetab-job', version: 1, run: 'Voices', model: { id: 'bundled:m', name: 'M' } },
    dataset: {
      ...{ id: 'local:7', name: 'voices', file: 'voices.csv', trainRows: 1, evalRows: 0 },
      mapping: { format: 'pair', columns: { prompt: 'q', completion: 'a' } },
    },
    job: { ...defaultJob(), model: 'bundled:m', data: 'local:7', ...change },
    ...more,
  }
}

/** What is said on stderr, and the events on stdout. */
function heard(work: (output: Output) => void): { said: string; events: unknown[] } {
  let [out, said] = ['', '']
  const stream = (take: (text: string) => void) => ({ write: (text: string) => (take(text), true) }) as never
  work(new Output(true, { stdout: stream((text) => (out += text)), stderr: stream((text) => (said += text)) }))
  return { said, events: out.trim().split('\n').map((line) => JSON.parse(line) as unknown) } // prettier-ignore
}

describe('a run’s job file', () => {
  it('is told from a plain object of settings', async () => {
    const path = join(folder, 'job.json')
    await writeFile(path, JSON.stringify(file({ rank: 5 })))
    expect(await readJobFile(path)).toMatchObject({ given: { rank: 5, data: 'local:7' }, run: { run: 'Voices' } })
    await writeFile(path, '{ "rank": 6 }')
    expect(await readJobFile(path)).toEqual({ given: { rank: 6 }, run: null })
  })

  it('finds its dataset beside it, and asks for what is nowhere', () => {
    const path = join(folder, 'job.json')
    const given: Given = { ...file().job } as Given
    resolvePlaces(file(), path, given)
    expect(given.data).toBe(join(folder, 'voices.csv'))
    const asked =
      (change: Partial<JobFile['job']>, where = path) =>
      () =>
        resolvePlaces(file(change), where, { ...file(change).job } as Given)
    expect(asked({}, '/nowhere/job.json')).toThrow(/dataset is known only to the page/)
    expect(asked({ model: 'local:9' })).toThrow(/model is known only/)
    expect(asked({ initAdapter: 'abc' })).toThrow(/adapter that the run started from/)
    const own = { ...file({ model: 'local:9' }).job, model: '/models/m', data: '/rows.csv' } as Given
    resolvePlaces(file({ model: 'local:9' }), '/nowhere/job.json', own)
    expect(own).toMatchObject({ model: '/models/m', data: '/rows.csv' })
  })

  it('says so where the rows are others', () => {
    const same = heard((output) => checkSameRows(file({}, { rowsHash: fingerprintRows([row], []) }), rows, output))
    expect(same).toMatchObject({ said: '', events: [{ event: 'rows', same: true }] })
    const other = heard((output) => checkSameRows(file({}, { rowsHash: 'else' }), rows, output))
    expect(other.said).toContain('the losses will differ')
    expect(other.events).toMatchObject([{ same: false }])
  })
})
