/** Which tasks answer which bench, and their run. Refuses to run what a processor would take hours over. */
import type { Peer } from './contest'
import type { Host } from './hosts'
import { median } from './measure'
import type { Measured } from './report'
import type { BenchResult } from './shapes'
import type { Backend, Task } from './tasks'

const PEERS: readonly Peer[] = ['finetab', 'tape', 'jax']

/**
 * The tasks of some benches on some backends.
 * @param model only these, parted by commas; otherwise those that suit the device. All 30 layers of SmolLM2 only on a real GPU, or asked for by name.
 */
export async function plan(
  benches: readonly string[],
  backends: readonly Backend[],
  model: string | undefined,
  hosts: Readonly<Record<Backend, Host>>,
): Promise<Task[]> {
  const tasks: Task[] = []
  for (const backend of backends) {
    const { software } = await hosts[backend].run({ bench: 'device', backend })
    const models = model ? model.split(',') : software ? ['tiny', 'small', 'smollm2x2'] : ['tiny', 'small', 'smollm2x2', 'smollm2']
    for (const bench of benches) tasks.push(...tasksOf(bench, backend, models))
  } // prettier-ignore
  return tasks
}

function tasksOf(bench: string, backend: Backend, models: readonly string[]): Task[] {
  switch (bench) {
    case 'step':
      return models.flatMap((model) => PEERS.map((peer): Task => ({ bench, backend, model, peer })))
    case 'memory':
      return models
        .filter((model) => model !== 'tiny' && model !== 'smollm2')
        .flatMap((model): Task[] => [
          { bench, backend, model, peer: 'finetab', length: 512, spare: 0 },
          { bench, backend, model, peer: 'finetab', length: 512, spare: 2 ** 30 },
          { bench, backend, model, peer: 'tape', length: 512, spare: 0 },
        ])
    case 'generate':
      return models.filter((model) => model !== 'smollm2x2').map((model): Task => ({ bench, backend, model }))
    case 'gemm':
    case 'attention':
    case 'ops':
      return [{ bench, backend }]
    default:
      throw new Error(`no bench ${bench}`)
  }
}

/** Runs tasks in turn; what fails is said and left out. */
export async function measure(
  tasks: readonly Task[],
  hosts: Readonly<Record<Backend, Host>>,
  say: (line: string) => void,
): Promise<Measured[]> {
  const measured: Measured[] = []
  for (const task of tasks) {
    const what = Object.values(task).join(' ')
    try {
      const outcome = await hosts[task.backend].run(task)
      measured.push({ task, outcome })
      const times = (outcome.result as Partial<BenchResult> | null)?.times
      say(times && times.length > 2 ? `${what}: ${median(times.slice(2)).toFixed(0)} ms a step` : what)
    } catch (error) {
      say(`${what}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  return measured
}
