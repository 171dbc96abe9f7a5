/**
 * Two servers that behave like the Hub and its file store on another host: ranges, redirects, tokens, and all that goes wrong. Pages steer them
 * by POST /steer (troubles, gated) and read GET /asked.
 */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export const COMMIT = '0123456789abcdef0123456789abcdef01234567'
export const TOKEN = 'hf_secret'

/** What a server does to the next requests for files, one entry a request; `only` lets requests for less than that pass. */
export type Trouble = Kind & { only?: { file: string; least: number } }
type Kind =
  | { kind: 'status'; status: number; retryAfter?: number; code?: string }
  /** Sends so many bytes and hangs. */
  | { kind: 'stall'; after: number }
  /** Sends so many bytes and breaks the connection. */
  | { kind: 'break'; after: number }
  /** Says that so many bytes are all. */
  | { kind: 'short'; after: number }
  /** Takes no notice of ranges. */
  | { kind: 'whole' }
  /** Sends another part than was asked for. */
  | { kind: 'shifted' }

export interface HubServer {
  endpoint: string
  /** Requests so far: host ("hub" or "store"), path, range and token. */
  asked: { host: 'hub' | 'store'; path: string; range: string; authorization: string }[]
  troubles: Trouble[]
  files: Record<string, Uint8Array>
  /** Texts instead of files, or null where there is no such file. */
  replaced: Record<string, string | null>
  gated: boolean
  close(): Promise<void>
}

export async function startHub(files: Record<string, Uint8Array>): Promise<HubServer> {
  const state: HubServer = {
    endpoint: '',
    asked: [],
    troubles: [],
    files,
    replaced: {},
    gated: false,
    close: async () => {},
  }
  const open = (response: ServerResponse) => {
    response.setHeader('access-control-allow-origin', '*')
    response.setHeader('access-control-allow-headers', 'authorization, range, content-type')
    response.setHeader('access-control-expose-headers', 'content-range, etag, x-error-code, retry-after')
  }
  const note = (host: 'hub' | 'store', request: IncomingMessage) => {
    const { range = '', authorization = '' } = request.headers
    state.asked.push({ host, path: request.url ?? '', range, authorization })
  }
  const store = createServer((request, response) => {
    open(response)
    if (request.method === 'OPTIONS') return void response.end()
    note('store', request)
    const name = decodeURIComponent((request.url ?? '').split('?')[0]?.split('/').at(-1) ?? '')
    sendFile(state, name, request, response)
  })
  const storeAddress = await listen(store)
  const hub = createServer(async (request, response) => {
    open(response)
    if (request.method === 'OPTIONS') return void response.end()
    const url = new URL(request.url ?? '', 'http://hub')
    if (url.pathname === '/asked') return void response.end(JSON.stringify(state.asked))
    if (url.pathname === '/steer') {
      Object.assign(state, { asked: [] }, JSON.parse(await readAll(request)))
      return void response.end()
    }
    note('hub', request)
    const refused = state.gated && request.headers.authorization !== `Bearer ${TOKEN}`
    if (url.pathname.startsWith('/api/models/')) return sendInfo(state, url.pathname, response)
    const match = /^\/me\/tiny\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname)
    if (refused) return sendStatus(response, 401, { 'x-error-code': 'GatedRepo' })
    if (!match || match[1] !== COMMIT) return sendStatus(response, 404, { 'x-error-code': 'RevisionNotFound' })
    const name = decodeURIComponent(match[2] ?? '')
    if (!name.endsWith('.safetensors') && !name.startsWith('stored-')) return sendFile(state, name, request, response)
    response.writeHead(302, { location: `${storeAddress}/signed/${name}?signature=secret`, etag: '"pointer"' }).end()
  })
  state.endpoint = await listen(hub)
  state.close = async () => {
    for (const server of [hub, store]) {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
  }
  return state
}

async function readAll(request: IncomingMessage): Promise<string> {
  let body = ''
  for await (const chunk of request) body += String(chunk)
  return body
}

function listen(server: Server): Promise<string> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`))
  })
}

function sendInfo(state: HubServer, path: string, response: ServerResponse): void {
  if (path !== '/api/models/me/tiny/revision/main' && path !== `/api/models/me/tiny/revision/${COMMIT}`) {
    return sendStatus(response, path.includes('/me/tiny/') ? 404 : 401, {
      'x-error-code': path.includes('/me/tiny/') ? 'RevisionNotFound' : 'RepoNotFound',
    })
  }
  const siblings = Object.entries(filesOf(state)).map(([rfilename, bytes]) => ({
    rfilename,
    size: bytes.length,
    ...(rfilename.endsWith('.safetensors')
      ? { lfs: { size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex'), pointerSize: 134 } }
      : {}),
  }))
  response.setHeader('content-type', 'application/json')
  response.end(
    JSON.stringify({
      id: 'me/tiny',
      sha: COMMIT,
      gated: state.gated ? 'auto' : false,
      cardData: { license: 'mit' },
      siblings,
    }),
  )
}

function filesOf({ files, replaced }: HubServer): Record<string, Uint8Array> {
  const all: Record<string, Uint8Array> = { ...files }
  for (const [name, text] of Object.entries(replaced)) {
    if (text === null) delete all[name]
    else all[name] = new TextEncoder().encode(text)
  }
  return all
}

function sendFile(state: HubServer, name: string, request: IncomingMessage, response: ServerResponse): void {
  const file = filesOf(state)[name]
  if (!file) return sendStatus(response, 404, { 'x-error-code': 'EntryNotFound' })
  const asked = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')
  const length = asked ? Number(asked[2]) + 1 - Number(asked[1]) : file.length
  const due = state.troubles.findIndex(({ only }) => !only || (only.file === name && length >= only.least))
  const [trouble] = due < 0 ? [] : state.troubles.splice(due, 1)
  if (trouble?.kind === 'status') {
    const { status, retryAfter, code } = trouble
    return sendStatus(response, status, {
      ...(retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) }),
      ...(code ? { 'x-error-code': code } : {}),
    })
  }
  const range = trouble?.kind === 'whole' ? null : asked
  let [from, end] = range ? [Number(range[1]), Number(range[2]) + 1] : [0, file.length]
  if (trouble?.kind === 'shifted') [from, end] = [from + 1, Math.min(end + 1, file.length)]
  const body = file.subarray(from, trouble?.kind === 'short' ? from + trouble.after : end)
  response.writeHead(range ? 206 : 200, {
    'content-length': body.length,
    'accept-ranges': 'bytes',
    etag: '"store"',
    ...(range ? { 'content-range': `bytes ${from}-${end - 1}/${file.length}` } : {}),
  })
  if (trouble?.kind === 'stall') return void response.write(body.subarray(0, trouble.after))
  if (trouble?.kind === 'break') return void response.write(body.subarray(0, trouble.after), () => response.destroy())
  response.end(body)
}

function sendStatus(response: ServerResponse, status: number, headers: Record<string, string>): void {
  response.writeHead(status, headers).end('{}')
}
