/** The error of work that a person cancelled. Refuses to say more than that. */
import { CodedError } from '../shared/errors'

export function cancelled(): CodedError {
  return new CodedError('cancelled', 'Cancelled.', { fix: 'Start it again when you like.' })
}
