/** Where tasks run: each in a Node process of its own (page-host.ts: in a page). Refuses to share a device between two tasks. */
import { spawnSync } from 'node:child_process'
import type { Outcome, Task } from './tasks'

/** Runs tasks, one at a time. */
export interface Host {
  run(task: Task): Promise<Outcome>
  close(): Promise<void>
}

/** Node processes started with `argv` before the task; on webgpu through Dawn. */
export function nodeHost(argv: readonly string[]): Host {
  return {
    run(task) {
      const { status, stdout, stderr } = spawnSync(process.execPath, [...argv, JSON.stringify(task)], {
        encoding: 'utf8',
        maxBuffer: 2 ** 26,
      })
      const line = stdout.trim().split('\n').pop()
      if (status !== 0 || !line) throw new Error(`${JSON.stringify(task)} failed: ${stderr.slice(-800)}`)
      return Promise.resolve(JSON.parse(line) as Outcome)
    },
    close: () => Promise.resolve(),
  }
}
