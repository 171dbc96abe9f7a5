/** Where settings come from, and which of them a resumed run may change. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { idleFlags, readJobFile, resumedJob, settingText } from '../../../src/cli/settings'
import { completeJob } from '../../../src/shared/job'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'finetab-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function jobFile(content: string) {
  await writeFile(join(folder, 'job.json'), content)
  return readJobFile(join(folder, 'job.json'))
}

describe('readJobFile', () => {
  it('reads settings by their names', async () => {
    expect(await jobFile('{"rank": 8, "shuffle": false}')).toEqual({ given: { rank: 8, shuffle: false }, run: null })
  })

  it('refuses what is not JSON, no object, unknown or out of bounds', async () => {
    for (const content of ['{', '[1]', '"x"', 'null', '{"ranks": 8}', '{"rank": 0}', '{"rank": "8"}']) {
      await expect(jobFile(content)).rejects.toMatchObject({ code: 'job.invalid' })
    }
    await expect(readJobFile(join(folder, 'none.json'))).rejects.toMatchObject({ code: 'file.missing' })
  })
})

describe('idleFlags', () => {
  it('names what counts only with another setting, and with which', () => {
    const given = { rank: 8, momentum: 0.5, model: 'm', learningRate: 0.1 }
    expect(idleFlags(given, completeJob({ method: 'prompt', optimizer: 'adamw' }))).toEqual([
      '--rank does nothing here: it counts only with --method lora.',
      expect.stringMatching(/^--momentum does nothing here: it counts only with --optimizer .*sgd/),
    ])
    expect(idleFlags(given, completeJob({ method: 'lora', optimizer: 'sgd' }))).toEqual([])
  })
})

describe('resumedJob', () => {
  const stored = completeJob({ rank: 8, learningRate: 0.01, steps: 20 })

  it('keeps the settings of the run', () => {
    expect(resumedJob(stored, {})).toEqual(stored)
    expect(resumedJob(stored, { rank: 8, targets: [...stored.targets] })).toEqual(stored)
    expect(resumedJob(stored, { data: 'moved.json', backend: 'wasm' })).toEqual({
      ...stored,
      data: 'moved.json',
      backend: 'wasm',
    })
  })

  it('names every setting that says something else', () => {
    expect(() => resumedJob(stored, { rank: 4, learningRate: 0.1, steps: 20 })).toThrow(
      /--rank \(8 there, 4 here\).*--lr/,
    )
  })
})

describe('settingText', () => {
  it('says what a zero means', () => {
    expect(settingText('steps', 0)).toBe('from epochs')
    expect(settingText('targets', ['q_proj', 'v_proj'])).toBe('q_proj, v_proj')
    expect(settingText('weightDecay', 0)).toBe('0')
  })
})
