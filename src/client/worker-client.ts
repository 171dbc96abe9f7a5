/**
 * The page's end of the wire: spawns a worker on the first call, rejects every pending call when it dies, and spawns a new
 * one on the next. Refuses to let a promise hang: comlink alone would.
 */
import { proxy, wrap, type Remote } from 'comlink'
import { workerDied, type AliveMessage, type StartMessage } from './wire'

type Method = (...args: unknown[]) => Promise<unknown>

interface Live {
  worker: Worker
  remote: Remote<Record<string, Method>>
  pending: Set<(error: unknown) => void>
  /** What the worker holds as long as it lives, once it has told so. */
  lifeLock: string
  alive: boolean
  /** Ends the wait for that lock. */
  ended: AbortController
}

/** ms after which a worker counts as gone though its locks are not free yet. */
const PATIENCE = 5000

export class WorkerClient<Api extends object> {
  /** The worker's API; callbacks may be passed as they are. Each call rejects with CodedError, `worker.died` included. */
  readonly api: Api
  readonly #spawn: () => Worker
  #live: Live | null = null

  constructor(spawn: () => Worker) {
    this.#spawn = spawn
    this.api = new Proxy({} as Api, {
      // Not a thenable: awaiting the API itself must not become a call.
      get: (_, name) =>
        typeof name === 'string' && name !== 'then' ? (...args: unknown[]) => this.#call(name, args) : undefined,
    })
  }

  /** Kills the worker at once; pending calls reject with `worker.died`, the next call starts a new worker. */
  terminate(reason = 'terminated'): void {
    if (this.#live) this.#end(this.#live, reason)
  }

  #call(name: string, args: unknown[]): Promise<unknown> {
    const live = (this.#live ??= this.#start())
    return new Promise((resolve, reject) => {
      live.pending.add(reject)
      const method = live.remote[name] as unknown as Method
      method(...args.map((arg) => (typeof arg === 'function' ? carried(arg as Method) : arg)))
        .then(resolve, reject)
        .finally(() => live.pending.delete(reject))
    })
  }

  #start(): Live {
    const worker = this.#spawn()
    const live: Live = {
      worker,
      remote: wrap<Record<string, Method>>(worker),
      pending: new Set(),
      lifeLock: `finetab:worker:${Array.from(crypto.getRandomValues(new Uint32Array(3))).join('-')}`,
      alive: false,
      ended: new AbortController(),
    }
    worker.addEventListener('error', (event) => this.#end(live, event.message || 'its script could not be loaded'))
    worker.addEventListener('messageerror', () => this.#end(live, 'a message could not be read'))
    // A worker that the browser kills (out of memory) fires no event at all, but the lock that it held becomes free.
    worker.addEventListener('message', (event: MessageEvent<AliveMessage | null>) => {
      if (event.data?.finetab !== 'alive') return
      live.alive = true
      navigator.locks
        .request(live.lifeLock, { signal: live.ended.signal }, () => this.#end(live, 'the browser ended it'))
        .catch(() => {})
    })
    const base = new URL(import.meta.env.BASE_URL, document.baseURI).href
    worker.postMessage({ finetab: 'start', base, lifeLock: live.lifeLock } satisfies StartMessage)
    return live
  }

  #end(live: Live, reason: string): void {
    if (this.#live === live) this.#live = null
    live.ended.abort()
    live.worker.terminate()
    const pending = [...live.pending]
    live.pending.clear()
    // Whoever hears of the death looks at what is stored next: by then the worker must not hold the run any more.
    void freed(live).then(() => {
      for (const reject of pending) reject(workerDied(reason))
    })
  }
}

/** Resolves when a terminated worker's locks are free, which takes the browser a moment. */
async function freed({ alive, lifeLock }: Live): Promise<void> {
  if (!alive) return
  await navigator.locks.request(lifeLock, { signal: AbortSignal.timeout(PATIENCE) }, () => {}).catch(() => {})
}

/** A callback as comlink carries it; wrapped, because comlink marks the function itself. */
function carried(callback: Method): Method {
  return proxy((...args: unknown[]) => callback(...args))
}
