/** Ctrl-C as a wish that the work ends in good order; a second one ends it at once. Refuses to stop anything by itself. */
import type { Output } from './output'

/** The exit code of a command that was interrupted. */
export const INTERRUPTED = 130

export class Interrupt {
  requested = false
  readonly #controller = new AbortController()

  constructor(output: Output) {
    const ask = () => {
      if (this.requested) process.exit(INTERRUPTED)
      this.requested = true
      output.warn('Interrupted: finishing what is under way. Once more ends it at once.')
      this.#controller.abort()
    }
    process.on('SIGINT', ask)
    process.on('SIGTERM', ask)
  }

  /** Aborted at the first interrupt: for reading and loading, which leave nothing to save. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Lets waiting signals in; call it between steps, whose awaits alone may never leave the microtask queue. */
  async breathe(): Promise<boolean> {
    await new Promise((resolve) => setImmediate(resolve))
    return this.requested
  }
}
