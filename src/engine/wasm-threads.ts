/**
 * Starts tfjs's wasm backend on several threads, which its own start grants only to half of the cores and never to Node. Refuses
 * threads that make products slower, and nothing to the person: where they do not start, the backend runs on one.
 */
import { BackendWasm, getThreadsCount, setThreadsCount } from '@tensorflow/tfjs-backend-wasm'
import startModule from '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-threaded-simd.js'
import { wasmWorkerContents } from '@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-threaded-simd.worker.js'
import { tf } from './tf'

/** What a host gives for threads: its cores, and how workers start there. */
export interface ThreadHost {
  /** Threads to use, the calling one included: see {@link threadsFor}. */
  count: number
  /** Takes all of them unmeasured, because the person said how many. */
  exact?: boolean
  /** The bytes of tfjs-backend-wasm-threaded-simd.wasm. */
  binary(): Promise<BufferSource>
  /** The address of tfjs-backend-wasm-threaded-simd.js as it was published: what a bundler makes of it does not run by itself. */
  script: string
  /** What `new Worker` takes for a source: the address of a blob in browsers, a data: URL in Node. */
  worker(source: string): string | URL
}

/** The module makes no larger pool. */
const MOST = 8
/** Workers that have not started by then, ms, never will: a host may forbid workers from blobs, and the browser says nothing. */
const PATIENCE = 20_000

/** Ms over which products are timed: longer than a core is taken away at a time. */
const WINDOW = 50

/** How many threads to use on so many cores: one core of four and more is left to the page. */
export function threadsFor(cores: number): number {
  return Math.min(MOST, cores >= 4 ? cores - 1 : Math.max(1, cores))
}

/** The parts of tfjs-backend-wasm 4.22.0's threaded module that this file reaches into. */
type Module = Awaited<ReturnType<typeof startModule>> & {
  cwrap(name: string, result: string | null, args: string[]): (...args: number[]) => number
  PThread: { runningWorkers: ThreadWorker[]; unusedWorkers: ThreadWorker[] }
}
interface ThreadWorker {
  terminate(): void
  /** Node's alone: lets the process end while a worker waits. */
  unref?(): void
}
type Imports = Record<string, Record<string, unknown>>

/**
 * Makes `setBackend('wasm')` start on several threads, or on one where that fails or `host` is undefined. To be called before
 * that backend's first start; afterwards it changes nothing.
 */
export function offerThreads(host: ThreadHost | undefined): void {
  // tfjs's own start would take the threaded binary with half of the cores, and keep eight workers for them.
  tf.env().set('WASM_HAS_MULTITHREAD_SUPPORT', false)
  const own = tf.engine().registryFactory.wasm?.factory
  if (!host || host.count < 2 || !own || 'wasm' in tf.engine().registry) return
  tf.removeBackend('wasm')
  tf.registerBackend('wasm', async () => (await startThreads(host).catch(() => null)) ?? (await own()), 2)
}

/** The pool of the backend that runs; null while there is none, or where it has one thread for good. */
let pool: { module: Module; host: ThreadHost; used: number } | null = null

async function startThreads(host: ThreadHost): Promise<BackendWasm> {
  const module = await inTime(started(host, await host.binary()))
  const { cwrap } = module
  module.tfjs = {
    init: cwrap('init', null, []),
    initWithThreadsCount: cwrap('init_with_threads_count', null, ['number']),
    getThreadsCount: cwrap('get_threads_count', 'number', []),
    registerTensor: cwrap('register_tensor', null, ['number', 'number', 'number']),
    disposeData: cwrap('dispose_data', null, ['number']),
    dispose: cwrap('dispose', null, []),
  }
  setThreadsCount(1)
  const backend = new BackendWasm(module)
  pool = { module, host, used: 0 }
  return backend
}

/**
 * Says how many threads the running backend uses, and how many were to be had; the first call settles that. All threads wait for
 * each other at the end of each product, so where other programs hold the cores fewer are faster, down to one.
 */
export function settleThreads(): { used: number; offered: number } {
  if (!pool) return { used: getThreadsCount(), offered: getThreadsCount() }
  const { module, host } = pool
  if (pool.used === 0) {
    pool.used = host.exact ? resize(module, host.count) : fastest(module, host.count)
    for (const worker of module.PThread.unusedWorkers.splice(0)) worker.terminate()
    for (const worker of module.PThread.runningWorkers) worker.unref?.()
  }
  return { used: pool.used, offered: host.count }
}

function fastest(module: Module, most: number): number {
  const alone = productTime()
  // Workers that were given up are gone, and new ones would start only after this.
  for (let count = most; count > 1; count = Math.min(count >> 1, module.PThread.unusedWorkers.length + 1)) {
    resize(module, count)
    if (productTime() < alone) return count
    resize(module, 1)
    for (const worker of module.PThread.runningWorkers.splice(0)) worker.terminate()
  }
  return 1
}

/** Gives the backend another pool; the workers of the one before wait for good. */
function resize(module: Module, count: number): number {
  module.tfjs.initWithThreadsCount(count)
  return module.tfjs.getThreadsCount()
}

/** Mean ms of a product of a size that layers of small models have, over {@link WINDOW}. */
function productTime(): number {
  return tf.tidy(() => {
    const [x, w] = [tf.fill<tf.Rank.R2>([256, 192], 0.5), tf.fill<tf.Rank.R2>([192, 192], 0.5)]
    tf.matMul(x, w).dispose()
    const start = performance.now()
    let count = 0
    do {
      tf.matMul(x, w).dispose()
      count++
    } while (performance.now() - start < WINDOW)
    return (performance.now() - start) / count
  })
}

/** Instantiates the module and the workers that its threads will run in. */
function started(host: ThreadHost, binary: BufferSource): Promise<Module> {
  // The source is written in a template, where its one line break inside a string became a real one.
  const worker = host.worker(wasmWorkerContents.replaceAll('\n', '\\n'))
  return new Promise((resolve, reject) => {
    const config: Parameters<typeof startModule>[0] = {
      mainScriptUrlOrBlob: host.script,
      // Handed on to `new Worker` as it is; Node's takes data: only as a URL.
      locateFile: (path) => (path.endsWith('.worker.js') ? (worker as string) : path),
      instantiateWasm(imports: Imports, receive: (instance: WebAssembly.Instance, module: WebAssembly.Module) => void) {
        // Its pool has at most half of these.
        Object.assign(imports.env as object, { emscripten_num_logical_cores: () => 2 * host.count })
        WebAssembly.instantiate(binary, imports as WebAssembly.Imports)
          .then(({ instance, module }) => receive(instance, module))
          .catch(reject)
        return {}
      },
    }
    startModule(config).then((module) => resolve(module as Module), reject)
  })
}

function inTime<T>(work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('The threads did not start.')), PATIENCE)
    work.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
