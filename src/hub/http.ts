/**
 * Requests to a Hub: token to its own host only, broken and stalled ones tried again, statuses as errors for a person.
 * Refuses to keep a token longer than the object that it was given to.
 */
import { CodedError } from '../shared/errors'
import { checked, failure, isOffline, Passing, RETRY, unreachable, type Thing } from './http-errors'

export interface HttpOptions {
  /** Sent to the endpoint's origin and to nobody else. */
  token?: string
  /** ms before the first retry; doubled each time. */
  delay?: number
  /** ms without a byte after which a request counts as stalled. */
  stall?: number
  /** How often a request is sent at most. */
  tries?: number
  /** What is asked for, for the words of an error. */
  thing?: Thing
}

const MOST_REDIRECTS = 5

export class Http {
  readonly #origin: string
  readonly #token: string
  readonly #delay: number
  readonly #stall: number
  readonly #tries: number
  readonly #thing: Thing

  /** @throws CodedError `usage` where the endpoint is no web address, or would carry the token in the open. */
  constructor(
    endpoint: string,
    { token = '', delay = 500, stall = 30_000, tries = 5, thing = 'model' }: HttpOptions = {},
  ) {
    const url = webAddress(endpoint)
    if (token !== '' && url.protocol === 'http:' && !isLocal(url.hostname)) {
      throw new CodedError('usage', 'A token is not sent over a connection that others can read.', {
        where: endpoint,
        fix: 'Write the endpoint with https, or take the token out.',
      })
    }
    this.#origin = url.origin
    this.#token = token
    this.#delay = delay
    this.#stall = stall
    this.#tries = tries
    this.#thing = thing
  }

  async json(url: URL, signal?: AbortSignal): Promise<unknown> {
    const bytes = await this.#retry(url, signal, (attempt) => this.#read(url, {}, null, attempt))
    try {
      return JSON.parse(new TextDecoder().decode(bytes))
    } catch (error) {
      throw failure(url, 'The answer is not JSON.', 'Check that the address is that of a model hub.', error)
    }
  }

  /**
   * Bytes `start` to `end` of a file; goes on from the last byte that came where a connection breaks.
   * @param onBytes hears of each piece that came.
   */
  async range(
    url: URL,
    start: number,
    end: number,
    signal?: AbortSignal,
    onBytes: (count: number) => void = () => {},
  ): Promise<Uint8Array> {
    const result = new Uint8Array(end - start)
    let got = 0
    if (result.length === 0) return result
    await this.#retry(url, signal, (attempt) => {
      const from = start + got
      return this.#read(url, { range: `bytes=${from}-${end - 1}` }, { from, end }, attempt, (chunk) => {
        result.set(chunk, got)
        got += chunk.length
        onBytes(chunk.length)
      })
    })
    return result
  }

  /** Bytes of a file. @throws CodedError `hub.request` where the server does not tell. */
  async size(url: URL, signal?: AbortSignal): Promise<number> {
    return this.#retry(url, signal, async (attempt) => {
      const response = await this.#fetch(url, { range: 'bytes=0-0' }, attempt)
      const { status, headers } = response
      await response.body?.cancel().catch(() => {})
      const told =
        status === 206 ? /\/(\d+)$/.exec(headers.get('content-range') ?? '')?.[1] : headers.get('content-length')
      if (told) return Number(told)
      throw failure(url, 'The server does not tell how large the file is.', 'Download the file and choose it here.')
    })
  }

  async #retry<T>(url: URL, signal: AbortSignal | undefined, attempt: (signal: AbortSignal) => Promise<T>): Promise<T> {
    for (let tried = 1; ; tried++) {
      const stop = new AbortController()
      const relay = () => stop.abort(signal?.reason)
      signal?.throwIfAborted()
      signal?.addEventListener('abort', relay)
      try {
        return await attempt(stop.signal)
      } catch (error) {
        signal?.throwIfAborted()
        const passing =
          error instanceof Passing ? error : error instanceof CodedError ? null : unreachable(url, error, this.#thing)
        if (!passing) throw error
        if (tried >= this.#tries || isOffline()) throw passing.report
        await pause(Math.max(passing.after, this.#delay * 2 ** (tried - 1)), signal)
      } finally {
        signal?.removeEventListener('abort', relay)
        stop.abort()
      }
    }
  }

  /** One try: the whole answer, or its part from..end handed to `take` piece by piece. */
  async #read(
    url: URL,
    headers: Record<string, string>,
    wanted: { from: number; end: number } | null,
    signal: AbortSignal,
    take?: (chunk: Uint8Array) => void,
  ): Promise<Uint8Array> {
    const clock = new Stall(this.#stall)
    const response = await this.#fetch(url, headers, AbortSignal.any([signal, clock.signal]))
    try {
      // A server that knows no ranges sends the file from its start.
      let skip = wanted && response.status === 200 ? wanted.from : 0
      if (wanted && response.status === 206) checkRange(url, response, wanted.from)
      let left = wanted ? wanted.end - wanted.from : Number.POSITIVE_INFINITY
      const chunks: Uint8Array[] = []
      const reader = response.body?.getReader()
      while (reader && left > 0) {
        const { done, value } = await reader.read()
        if (done) break
        clock.touch()
        const skipped = Math.min(skip, value.length)
        skip -= skipped
        const chunk = value.subarray(skipped, Math.min(value.length, skipped + left))
        left -= chunk.length
        if (take) take(chunk)
        else chunks.push(chunk)
      }
      if (wanted && left > 0) throw new Passing(failure(url, `The file ended ${left} bytes early.`, RETRY))
      return concat(chunks)
    } finally {
      clock.stop()
      await response.body?.cancel().catch(() => {})
    }
  }

  async #fetch(start: URL, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
    let url = start
    for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
      const own = url.origin === this.#origin && this.#token !== ''
      const all = own ? { ...headers, authorization: `Bearer ${this.#token}` } : headers
      // Node lets each hop be looked at. A browser hides where a manual redirect goes; it takes the token off itself
      // when following to another origin (Fetch standard, "HTTP-redirect fetch"; Chromium 119, Firefox 111, Safari 16.4).
      const response = await fetch(url, {
        headers: all,
        redirect: own ? 'manual' : 'follow',
        signal,
        credentials: 'omit',
      })
      if (response.type === 'opaqueredirect') {
        const followed = await fetch(url, { headers: all, redirect: 'follow', signal, credentials: 'omit' })
        return checked(url, followed, this.#thing, this.#token !== '')
      }
      const location = response.status >= 300 && response.status < 400 ? response.headers.get('location') : null
      if (location === null) return checked(url, response, this.#thing, this.#token !== '')
      await response.body?.cancel()
      url = new URL(location, url)
    }
    throw failure(start, 'The address leads in circles.', 'Check the endpoint.')
  }
}

/** Aborts when it has not been touched for a while. */
class Stall {
  readonly #abort = new AbortController()
  readonly #limit: number
  readonly signal = this.#abort.signal
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(limit: number) {
    this.#limit = limit
    this.touch()
  }

  touch(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#abort.abort(new Error('no data came any more')), this.#limit)
  }

  stop(): void {
    clearTimeout(this.#timer)
  }
}

function checkRange(url: URL, response: Response, from: number): void {
  // Servers of other origins may hide this header; where it is shown it must be right.
  const told = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')
  if (told && Number(told[1]) !== from) {
    throw failure(url, 'The hub sent another part of the file than was asked for.', 'Try another endpoint.')
  }
}

function webAddress(endpoint: string): URL {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : null
  if (url && /^https?:$/.test(url.protocol)) return url
  throw new CodedError('usage', 'The endpoint is not a web address.', {
    where: endpoint,
    fix: 'Write it like https://huggingface.co, or leave it empty for Hugging Face.',
  })
}

function isLocal(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost') || host === '[::1]' || /^127\./.test(host)
}

function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort)
      resolve()
    }, ms)
    const abort = () => {
      clearTimeout(timer)
      reject(signal?.reason as Error)
    }
    signal?.addEventListener('abort', abort, { once: true })
  })
}

function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const [only] = chunks
  if (chunks.length === 1 && only) return only
  const result = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    result.set(chunk, at)
    at += chunk.length
  }
  return result
}
