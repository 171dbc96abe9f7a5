/** One training at a time in a folder, also among processes. Refuses to hold a folder for a process that is gone. */
import { rmSync } from 'node:fs'
import { open, readFile, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { CodedError } from '../shared/errors'
import { storageError } from './folder'

const LOCK_FILE = 'training.lock'

/**
 * Takes a folder for this process, until the returned function is called or the process ends.
 * @throws CodedError `run.locked` where another process trains into it, `storage.failed`, `storage.full`.
 */
export async function lockFolder(folder: string): Promise<() => void> {
  const path = join(folder, LOCK_FILE)
  for (let tries = 0; ; tries++) {
    try {
      const file = await open(path, 'wx')
      await file.writeFile(`${process.pid} ${hostname()}\n`).finally(() => file.close())
      break
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw storageError(error, path)
      await refuseIfHeld(path, tries)
      await rm(path, { force: true })
    }
  }
  const release = (): void => {
    process.off('exit', release)
    rmSync(path, { force: true })
  }
  // A second Ctrl-C ends the process at once.
  process.on('exit', release)
  return release
}

/** Passes where the lock was left by a process that is gone. @throws CodedError `run.locked` */
async function refuseIfHeld(path: string, tries: number): Promise<void> {
  const text = await readFile(path, 'utf8').catch(() => '')
  const [pid = '', host = ''] = text.trim().split(' ')
  if (tries < 2 && host === hostname() && !isAlive(Number(pid))) return
  throw new CodedError('run.locked', 'Another process trains into this folder.', {
    where: path,
    fix: `Give another --out, or wait for process ${pid || 'that made it'}${host && host !== hostname() ? ` on ${host}` : ''}; delete this file if there is none.`,
  })
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
