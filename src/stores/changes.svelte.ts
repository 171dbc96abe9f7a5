/** The steps on the chosen dataset: what was done, undo and redo, recipes. Refuses to work them out; the data worker does. */
import { data } from '../client'
import { CodedError } from '../shared/errors'
import type { Progress } from '../shared/files'
import type { StepChange, StepList } from '../shared/protocol'
import type { DatasetId } from '../shared/records'
import type { Step } from '../shared/steps'
import { datasets } from './datasets.svelte'
import { device } from './device.svelte'
import { notices } from './notices.svelte'
import { review } from './review.svelte'

class Changes {
  list = $state.raw<StepList | null>(null)
  busy = $state.raw<Progress | null>(null)
  #id: DatasetId = ''

  /** Reads the steps of a dataset; call it whenever another one is chosen. */
  async load(id: DatasetId): Promise<void> {
    if (id === this.#id) return
    this.#id = id
    this.list = null
    if (!id) return
    try {
      const list = await data().steps(id)
      if (this.#id === id) this.list = list
    } catch (error) {
      notices.fail(error)
    }
  }

  /** Makes steps and says what was done, with a way back. True if they were made. */
  async add(steps: readonly Step[], said: string): Promise<boolean> {
    const made = await this.change({ add: steps })
    const state = datasets.chosen?.revision
    if (made) notices.say(said, () => void this.#undo(steps.length, state))
    return made
  }

  async #undo(times: number, state: string | undefined): Promise<void> {
    if (datasets.chosen?.revision !== state) return notices.say('Other steps came after it: take it out under Changes.')
    for (let i = 0; i < times; i++) if (!(await this.change('undo'))) return
  }

  change(change: StepChange): Promise<boolean> {
    return this.#work(this.#id, change)
  }

  async #work(id: DatasetId, change: StepChange): Promise<boolean> {
    const request = review.anyRequest
    if (!request) return false
    if (this.busy) {
      notices.say('Another change is being worked out; wait for it, or cancel it.')
      return false
    }
    this.busy = { stage: 'Working it out', done: 0, total: 0, unit: 'rows' }
    try {
      const list = await data().changeSteps({ ...request, datasetId: id }, change, (progress) => {
        if (this.busy) this.busy = progress
      })
      if (this.#id === id) this.list = list
      await datasets.refresh()
      void device.measureRoom()
      return true
    } catch (error) {
      notices.fail(error)
      // The audit that the change ended goes on.
      review.again()
      return false
    } finally {
      this.busy = null
    }
  }

  /**
   * Leaves out of one dataset the rows that another has too: validation rows that are trained on, from either side.
   * @param side which of the two loses them.
   */
  async leaveOutLeaks(side: 'training' | 'validation', rows: number): Promise<void> {
    const training = datasets.chosen
    const validation = datasets.list.find(({ id }) => id === review.anyRequest?.evalData)
    if (!training || !validation) return
    const [loser, other] = side === 'training' ? [training, validation] : [validation, training]
    const step: Step = { kind: 'drop-shared', with: other.id, name: other.name }
    const said = `Rows that both have left out of ${loser.name}.`
    if (side === 'training') return void (await this.add([step], said))
    if (rows >= loser.rows)
      return notices.say(`All rows of ${loser.name} are trained on: nothing would be left to validate with.`)
    if (await this.#work(loser.id, { add: [step] })) notices.say(said, () => void this.#work(loser.id, 'undo'))
  }

  cancel(): void {
    void data().cancelAudit()
  }

  /** The steps that mean the same on another file, as the text of a file. */
  async recipe(): Promise<string> {
    return `${JSON.stringify(await data().recipe(this.#id), null, 2)}\n`
  }

  /** Runs a saved recipe on the chosen dataset. */
  async apply(file: File): Promise<void> {
    try {
      const { steps } = await data().readRecipe(file)
      if (steps.length === 0) throw new CodedError('data.row', 'The recipe has no steps.', { where: file.name })
      await this.add(steps, `${steps.length === 1 ? 'One step' : `${steps.length} steps`} of ${file.name} made.`)
    } catch (error) {
      notices.fail(error)
    }
  }
}

export const changes = new Changes()
