import { describe, expect, it } from 'vitest'
import { CodedError, describeError, fromReport, toReport } from '../../../src/shared/errors'

describe('coded errors', () => {
  it('survive structured clone', () => {
    const error = new CodedError('data.row', 'Row 3 has no answer.', { where: 'a.jsonl, line 3', fix: 'Fill it in.' })
    const back = fromReport(structuredClone(toReport(error)))
    expect(back).toBeInstanceOf(CodedError)
    expect(toReport(back)).toEqual(toReport(error))
    expect(describeError(toReport(back))).toBe('Row 3 has no answer. (a.jsonl, line 3) Fill it in.')
  })

  it('names a full disk and a cancellation', () => {
    expect(toReport(new DOMException('full', 'QuotaExceededError')).code).toBe('storage.full')
    expect(toReport(new DOMException('stop', 'AbortError')).code).toBe('cancelled')
  })

  it('keeps the message of what is not ours', () => {
    expect(toReport(new TypeError('x is undefined'))).toMatchObject({ code: 'internal', what: 'x is undefined' })
  })
})
