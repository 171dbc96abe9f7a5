/** What a hub's answers mean to a person: statuses and broken connections as coded errors, those that may pass told apart. Refuses to try again. */
import { CodedError } from '../shared/errors'

/** What is asked for, for the words. */
export type Thing = 'model' | 'dataset'

/** Statuses that may pass: too many requests, and the server's own troubles. */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504])

export const RETRY = 'Check your connection and try again; of a model that was being fetched, what has come is kept.'

/** A failure that another try may mend. */
export class Passing extends Error {
  readonly after: number
  readonly report: CodedError

  constructor(report: CodedError, after = 0) {
    super(report.message)
    this.report = report
    this.after = after
  }
}

/** An answer that is one. @throws CodedError `hub.request`, `hub.access`; Passing where another try may help. */
export function checked(url: URL, response: Response, thing: Thing, hasToken: boolean): Response {
  const { status, headers } = response
  if (status === 200 || status === 206) return response
  void response.body?.cancel().catch(() => {})
  const code = headers.get('x-error-code') ?? ''
  const check = thing === 'model' ? 'Check owner and name' : 'Check the address'
  if (code === 'RepoNotFound') {
    const what = `There is no such ${thing}, or it is private.`
    throw failure(url, what, `${check}; a private ${thing} needs a token${hasToken ? ' that may read it' : ''}.`)
  }
  if (status === 401 || status === 403) throw refused(url, status, code, thing, hasToken)
  if (status === 404) {
    const what =
      code === 'RevisionNotFound' ? `There is no such revision of this ${thing}.` : `There is no such ${thing} or file.`
    throw failure(
      url,
      what,
      thing === 'model' ? 'Check owner, name and revision.' : `${check}, and the name of the file.`,
    )
  }
  const what = status === 429 ? 'The hub asks for a pause: too many requests.' : `The hub answered with ${status}.`
  const report = failure(url, what, 'Wait a little and go on: what has come so far is kept.')
  if (!PASSING.has(status)) throw report
  const after = Number(headers.get('retry-after'))
  throw new Passing(report, Number.isFinite(after) ? Math.min(after, 60) * 1000 : 0)
}

function refused(url: URL, status: number, code: string, thing: Thing, hasToken: boolean): CodedError {
  const gated = code === 'GatedRepo'
  const what = gated
    ? hasToken || status === 403
      ? `This ${thing} is gated, and the account of this token has not been given access to it.`
      : `This ${thing} is gated: its files need an access token.`
    : hasToken && status === 401
      ? 'The token was not accepted.'
      : 'The hub refused access.'
  const fix = gated
    ? `Accept the conditions on the ${thing}’s page, then give a token of the same account that may read it.`
    : hasToken
      ? `Check the token, and that it may read this ${thing}.`
      : `If the ${thing} is gated or private, give an access token that may read it.`
  return new CodedError('hub.access', what, { where: url.origin + url.pathname, fix })
}

/** Whether the browser says so; Node does not know. */
export function isOffline(): boolean {
  return globalThis.navigator?.onLine === false
}

export function unreachable(url: URL, cause: unknown, thing: Thing): Passing {
  if (isOffline()) {
    return new Passing(
      failure(
        url,
        'You are offline: the hub cannot be reached.',
        'Go online and try again; of a model that was being fetched, what has come is kept.',
      ),
    )
  }
  const why = cause instanceof Error ? cause.message : String(cause)
  if (thing === 'model') return new Passing(failure(url, `The hub could not be reached: ${why}.`, RETRY, cause))
  const fix =
    'Check the address and your connection. Some servers let no page read their files: download it and choose it here.'
  return new Passing(failure(url, `The file could not be reached: ${why}.`, fix, cause))
}

/** A failed request. The address goes in without its query, which in signed links is a secret. */
export function failure(url: URL, what: string, fix: string, cause?: unknown): CodedError {
  return new CodedError('hub.request', what, { where: url.origin + url.pathname, fix, cause })
}
