/**
 * Coded errors that survive a worker border: what happened, where, and what to do about it.
 * Refuses to carry anything that structured clone cannot carry.
 */

/** Every code, with the exit status that the command line gives it (2: bad input or usage, 1: anything else). */
export const ERROR_CODES = {
  usage: 2,
  'job.invalid': 2,
  'file.missing': 2,
  'file.too-large': 2,
  'file.unreadable': 2,
  'data.not-json': 2,
  'data.not-utf8': 2,
  'data.columns': 2,
  'data.empty': 2,
  'data.row': 2,
  'data.no-trained-tokens': 2,
  'data.too-few-rows': 2,
  'model.config': 2,
  'model.unsupported': 2,
  'model.pickle': 2,
  'model.truncated': 2,
  'model.header': 2,
  'model.tensors': 2,
  'model.not-finite': 2,
  'model.tokenizer': 2,
  'template.invalid': 2,
  'adapter.mismatch': 2,
  'adapter.unsupported': 2,
  'checkpoint.missing': 2,
  'checkpoint.mismatch': 2,
  'memory.budget': 2,
  'device.none': 2,
  'device.self-test': 1,
  'device.lost': 1,
  'device.out-of-memory': 1,
  'train.not-finite': 1,
  'storage.full': 1,
  'storage.failed': 1,
  'run.locked': 1,
  'run.missing': 2,
  'export.verify': 1,
  'hub.request': 1,
  'hub.access': 2,
  'worker.died': 1,
  cancelled: 1,
  internal: 1,
} as const

export type ErrorCode = keyof typeof ERROR_CODES

/** The plain form of a {@link CodedError}: what crosses the wire, what `--json` prints, what a run record keeps. */
export interface ErrorReport {
  code: ErrorCode
  /** What happened, in one sentence. */
  what: string
  /** File, row, field or tensor; empty where there is no such place. */
  where: string
  /** What the person can do next; empty only for `internal`. */
  fix: string
}

/** An error meant for a person. Throw this, never a bare Error, wherever the cause is outside the code. */
export class CodedError extends Error {
  override readonly name = 'CodedError'
  readonly code: ErrorCode
  readonly what: string
  readonly where: string
  readonly fix: string

  constructor(code: ErrorCode, what: string, detail: { where?: string; fix?: string; cause?: unknown } = {}) {
    super(what, { cause: detail.cause })
    this.code = code
    this.what = what
    this.where = detail.where ?? ''
    this.fix = detail.fix ?? ''
  }
}

/** Any thrown value as a report; what is not ours becomes `internal` with its message. */
export function toReport(error: unknown): ErrorReport {
  if (error instanceof CodedError) {
    return { code: error.code, what: error.what, where: error.where, fix: error.fix }
  }
  if (isReport(error)) return error
  const name = (error as { name?: string } | null)?.name
  if (name === 'QuotaExceededError') {
    return {
      code: 'storage.full',
      what: 'The browser has no more room for this page.',
      where: '',
      fix: 'Delete old runs or models under Runs and Model, then go on.',
    }
  }
  if (name === 'AbortError')
    return { code: 'cancelled', what: 'Cancelled.', where: '', fix: 'Start it again when you like.' }
  const message = error instanceof Error ? error.message : String(error)
  return {
    code: 'internal',
    what: message,
    where: '',
    fix: 'Reload the page; your runs are kept. If it happens again, report it.',
  }
}

/** A report as a throwable error, for the receiving side of the wire. */
export function fromReport(report: ErrorReport): CodedError {
  return new CodedError(report.code, report.what, { where: report.where, fix: report.fix })
}

/** One or two lines for a person: what, where, what to do. */
export function describeError(report: ErrorReport): string {
  const where = report.where ? ` (${report.where})` : ''
  return `${report.what}${where}${report.fix ? ` ${report.fix}` : ''}`
}

/** Whether a value has the shape of an {@link ErrorReport}. */
function isReport(value: unknown): value is ErrorReport {
  const report = value as ErrorReport | null
  return typeof report === 'object' && report !== null && typeof report.code === 'string' && report.code in ERROR_CODES
}
