/**
 * What a person types or pastes to name a model on the Hub. Refuses what names none, with an example of what does.
 */
import { CodedError } from '../shared/errors'

export interface HubName {
  owner: string
  name: string
  /** Branch, tag or commit. */
  revision: string
}

const PART = /^[A-Za-z0-9][A-Za-z0-9._-]*$/
const REVISION = /^[A-Za-z0-9][A-Za-z0-9._/-]*$/

/**
 * `owner/name`, `owner/name@revision`, or an address on the endpoint: `https://…/owner/name`, `…/tree/revision`.
 * @throws CodedError `hub.request`
 */
export function parseHubName(text: string, endpoint: string): HubName {
  let rest = text.trim()
  let revision = ''
  if (/^https?:\/\//i.test(rest)) {
    const url = new URL(rest)
    if (url.host !== new URL(endpoint).host) throw notAName(text, `It is not an address on ${endpoint}.`)
    const [owner = '', name = '', verb, ...path] = url.pathname.split('/').filter(Boolean).map(decodeURIComponent)
    rest = `${owner}/${name}`
    // A branch may hold slashes in "tree" addresses only; in "blob" and "resolve" ones the file's path follows it.
    if (verb === 'tree') revision = path.join('/')
    else if (verb === 'blob' || verb === 'resolve') revision = path[0] ?? ''
  } else if (rest.includes('@')) {
    revision = rest.slice(rest.indexOf('@') + 1)
    rest = rest.slice(0, rest.indexOf('@'))
    if (revision === '') throw notAName(text, 'Nothing follows the @.')
  }
  const parts = rest.split('/')
  const [owner = '', name = ''] = parts
  if (parts.length !== 2 || !PART.test(owner) || !PART.test(name)) throw notAName(text, 'It has no owner and name.')
  if (revision !== '' && !REVISION.test(revision)) throw notAName(text, 'The revision has characters that none has.')
  return { owner, name, revision: revision || 'main' }
}

function notAName(text: string, why: string): CodedError {
  return new CodedError('hub.request', `This does not name a model. ${why}`, {
    where: text.trim().slice(0, 200),
    fix: 'Write owner/name, as in HuggingFaceTB/SmolLM2-135M, or paste the address of the model’s page.',
  })
}
