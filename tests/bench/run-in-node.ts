/** One task in this Node process, on wasm or on Dawn; prints its outcome as JSON. Refuses browsers. */
import { openGpu, wasmFolder } from '../../src/cli/gpu'
import { nodeThreads } from '../../src/cli/threads'
import { runTask, type Task } from './tasks'

/** @param json the task. */
export async function runInNode(json: string): Promise<void> {
  const task = JSON.parse(json) as Task
  // Finetab takes the threads that it takes in the page; others take those that they take by themselves.
  const threads = 'peer' in task && task.peer !== 'finetab' ? undefined : nodeThreads()
  const environment =
    task.backend === 'wasm' ? { wasmPath: wasmFolder(), threads } : { gpu: (await openGpu(true)) ?? undefined }
  // What jax-js reads of a browser.
  if (task.backend === 'webgpu' && !navigator.userAgent)
    Object.assign(navigator, { userAgent: 'Node.js', platform: process.platform, vendor: '' })
  console.log(JSON.stringify(await runTask(task, environment)))
}
