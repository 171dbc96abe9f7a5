/** What computes here, and how much this page keeps in the browser. Refuses to choose for the person. */
import { engine } from '../client'
import { toReport, type ErrorReport } from '../shared/errors'
import type { Job } from '../shared/job'
import type { DeviceReport } from '../shared/records'
import { requestPersistence, storageEstimate, type StorageEstimate } from '../storage'

class DeviceStore {
  report = $state.raw<DeviceReport | null>(null)
  error = $state.raw<ErrorReport | null>(null)
  opening = $state(false)
  room = $state.raw<StorageEstimate | null>(null)
  #choice: Job['backend'] | null = null
  #askedToKeep = false

  /** Opens the device of this choice, unless it is open already. */
  async open(choice: Job['backend']): Promise<void> {
    if (this.#choice === choice) return
    this.#choice = choice
    this.opening = true
    this.error = null
    try {
      this.report = await engine().openDevice(choice)
    } catch (error) {
      this.#choice = null
      this.error = toReport(error)
    } finally {
      this.opening = false
    }
  }

  /**
   * Asks the browser not to clear by itself what is kept here: once a visit, when the first thing worth keeping is in, or
   * when the person wants it. True if it promised.
   */
  async keep(again = false): Promise<boolean> {
    if (this.room?.persisted) return true
    if (this.#askedToKeep && !again) return false
    this.#askedToKeep = true
    const promised = await requestPersistence().catch(() => false)
    await this.measureRoom()
    return promised
  }

  /** Asks the browser again how much is kept. */
  async measureRoom(): Promise<void> {
    this.room = await storageEstimate().catch(() => null)
  }
}

export const device = new DeviceStore()
