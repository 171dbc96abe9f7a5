/**
 * The worker's end of the wire: serves an API over comlink, with errors that keep their code and callbacks that have all
 * arrived before the call they belong to ends. Refuses to know which API it is.
 */
import { expose, releaseProxy, transfer, transferHandlers, type Endpoint, type ProxyMethods } from 'comlink'
import { CodedError, fromReport, toReport, type ErrorReport } from '../shared/errors'

export { transfer }

/** What a page tells a worker before its first call. */
export interface StartMessage {
  finetab: 'start'
  /** The address that `public/` files are relative to: a worker's own is somewhere under assets/. */
  base: string
  /** A Web Lock that the worker holds as long as it lives. */
  lifeLock: string
}
/** What a worker answers once it holds its lock. */
export interface AliveMessage {
  finetab: 'alive'
}

type Thrown = { value: unknown }
type Callback = ((...args: unknown[]) => Promise<unknown>) & ProxyMethods

// comlink's own handler keeps only message and stack of an error; "throw" is its name for whatever a call rejects with.
const original = transferHandlers.get('throw')
if (!original) throw new Error('comlink has no throw handler')
transferHandlers.set('throw', {
  canHandle: (value): value is Thrown => original.canHandle(value),
  serialize: (thrown: unknown) => [toReport((thrown as Thrown).value), []],
  deserialize: (report: ErrorReport) => {
    throw fromReport(report)
  },
})

/**
 * Serves an object's methods to the page. Functions among the arguments may be called freely: what they throw is dropped,
 * a method's result is sent only after all its callbacks have arrived, and their ports are then closed.
 */
export function serve(api: object, endpoint: Endpoint = self as unknown as Endpoint): void {
  endpoint.addEventListener('message', (event) => {
    const data = (event as MessageEvent<unknown>).data
    if (isStart(data)) begin(data, endpoint)
  })
  const methods = Object.entries(api).map(([name, method]) => [name, served(api, method as Method)])
  expose(Object.fromEntries(methods), endpoint)
}

let base = ''

/** The address that `public/` files are relative to, as the page told. */
export function pageBase(): string {
  return base
}

type Method = (...args: unknown[]) => unknown

function served(api: object, method: Method): Method {
  return async (...args) => {
    const underway = new Set<Promise<unknown>>()
    const callbacks = args.filter((arg): arg is Callback => typeof arg === 'function')
    const relayed = args.map((arg) => (typeof arg === 'function' ? relay(arg as Callback, underway) : arg))
    try {
      return await method.apply(api, relayed)
    } finally {
      await Promise.all(underway)
      for (const callback of callbacks) callback[releaseProxy]()
    }
  }
}

function relay(callback: Callback, underway: Set<Promise<unknown>>): Method {
  return (...args) => {
    const call: Promise<unknown> = callback(...args)
      .catch(() => {})
      .finally(() => underway.delete(call))
    underway.add(call)
  }
}

function begin(message: StartMessage, endpoint: Endpoint): void {
  base = message.base
  void globalThis.navigator?.locks?.request(message.lifeLock, () => {
    endpoint.postMessage({ finetab: 'alive' } satisfies AliveMessage)
    return new Promise(() => {})
  })
}

function isStart(data: unknown): data is StartMessage {
  return (data as StartMessage | null)?.finetab === 'start'
}

/** The error of every call that was under way when its worker died. */
export function workerDied(reason: string): CodedError {
  return new CodedError('worker.died', 'The background worker ended unexpectedly.', {
    where: reason,
    fix: 'What was stored is kept: try again, or resume the run from its last checkpoint.',
  })
}
