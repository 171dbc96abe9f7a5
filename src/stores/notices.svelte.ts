/** Short messages at the edge of the page: what was done, with a way to undo it, and what went wrong. Refuses dialogs. */
import { toReport, type ErrorReport } from '../shared/errors'

interface Notice {
  id: number
  text: string
  error: ErrorReport | null
  undo: (() => void) | null
}

const SHOWN_FOR = 8000

class Notices {
  list = $state.raw<readonly Notice[]>([])
  #next = 1

  /** Says what was done; `undo` puts it back. Goes away by itself. */
  say(text: string, undo: (() => void) | null = null): void {
    const id = this.#add({ text, error: null, undo })
    setTimeout(() => this.dismiss(id), SHOWN_FOR)
  }

  /** Says what went wrong; stays until dismissed. What the person cancelled is no news. */
  fail(error: unknown): void {
    const report = toReport(error)
    if (report.code !== 'cancelled') this.#add({ text: report.what, error: report, undo: null })
  }

  dismiss(id: number): void {
    this.list = this.list.filter((notice) => notice.id !== id)
  }

  #add(notice: Omit<Notice, 'id'>): number {
    const id = this.#next++
    this.list = [...this.list.slice(-2), { ...notice, id }]
    return id
  }
}

export const notices = new Notices()
