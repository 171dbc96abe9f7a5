/** One task in this page, named by the address (?task=JSON); leaves its outcome on `window.benchOutcome`. */
import { runTask, type Outcome, type Task } from './tasks'

declare global {
  interface Window {
    benchOutcome?: Outcome | { error: string }
  }
}

const task = JSON.parse(new URLSearchParams(location.search).get('task') ?? '{}') as Task
window.benchOutcome = await runTask(task, {}).catch((error: unknown) => ({ error: String(error) }))
