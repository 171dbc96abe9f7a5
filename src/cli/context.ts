/** What every command is given. Refuses to hold state of its own. */
import type { Given, Options } from './flags'
import type { Interrupt } from './interrupt'
import type { Output } from './output'

export interface CommandContext {
  options: Options
  /** Settings by flag, already checked one by one. */
  given: Given
  output: Output
  interrupt: Interrupt
}
