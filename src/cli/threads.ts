/** Threads for the wasm backend in Node. Refuses to take more cores than this process may use. */
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { threadsFor, type ThreadHost } from '../engine'
import { wasmFolder } from './gpu'

const require = createRequire(import.meta.url)

/** @param count exactly so many threads; otherwise as many as the cores make faster. */
export function nodeThreads(count?: number): ThreadHost {
  const script = require.resolve('@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-threaded-simd.js')
  // The worker's source asks for both as a CommonJS file would have them; data: is always a module.
  const head = `import { createRequire } from 'node:module'
const [require, __filename] = [createRequire(${JSON.stringify(script)}), ${JSON.stringify(script)}]\n`
  return {
    count: count ?? threadsFor(availableParallelism()),
    exact: count !== undefined,
    binary: () => readFile(`${wasmFolder()}tfjs-backend-wasm-threaded-simd.wasm`),
    script,
    worker: (source) => new URL(`data:text/javascript,${encodeURIComponent(head + source)}`),
  }
}
