/** The lock of a run's folder: held by one process, and never by one that is gone. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { lockFolder } from '../../../src/cli/lock'

let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'finetab-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

it('is held until it is released', async () => {
  const release = await lockFolder(folder)
  await expect(lockFolder(folder)).rejects.toMatchObject({ code: 'run.locked' })
  release()
  expect(await readdir(folder)).toEqual([])
  ;(await lockFolder(folder))()
})

it('is taken from a process that is gone, and from no other machine', async () => {
  const gone = 2 ** 22 + 1
  await writeFile(join(folder, 'training.lock'), `${gone} ${hostname()}\n`)
  ;(await lockFolder(folder))()
  await writeFile(join(folder, 'training.lock'), `${gone} elsewhere\n`)
  await expect(lockFolder(folder)).rejects.toMatchObject({ code: 'run.locked', fix: expect.stringContaining('elsewhere') }) // prettier-ignore
})
