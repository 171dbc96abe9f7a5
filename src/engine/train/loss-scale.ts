/**
 * The factor on the loss that keeps gradients within the range of halves, found by trying: doubled after many good steps, halved when
 * gradients overflow, as torch.amp.GradScaler does (start 2¹⁶, 2000 steps). Refuses to go below 1: what overflows there is the run's fault.
 */

/** As a checkpoint keeps it. */
interface LossScaleState {
  readonly factor: number
  /** Good steps since it last changed. */
  readonly good: number
}

const START = 2 ** 16
/** Good steps after which it is doubled. */
const PATIENCE = 2000

export class LossScale {
  #factor: number
  #good: number

  constructor({ factor, good }: LossScaleState = { factor: START, good: 0 }) {
    this.#factor = factor
    this.#good = good
  }

  /** What the loss of the next step is multiplied by; a power of two. */
  get factor(): number {
    return this.#factor
  }

  /** After a step whose gradients were finite. */
  keep(): void {
    if (++this.#good < PATIENCE) return
    this.#factor *= 2
    this.#good = 0
  }

  /** After a step whose gradients were not; false where it cannot go lower. */
  lower(): boolean {
    if (this.#factor <= 1) return false
    this.#factor = Math.max(1, this.#factor / 2)
    this.#good = 0
    return true
  }

  save(): LossScaleState {
    return { factor: this.#factor, good: this.#good }
  }
}
