/** Judging a run from its page, and rehearsing a job before one. Refuses to run two at once. */
import { engine } from '../client'
import { rehearsalVerdict } from '../insight/rehearsal'
import { completeJob } from '../shared/job'
import { toReport, type ErrorReport } from '../shared/errors'
import type { Progress } from '../shared/files'
import type { PromptingTrial, Rehearsal, RehearsalKind, RehearsalStep } from '../shared/judgement'
import type { JudgeRequest } from '../shared/protocol'
import type { CheckpointKind, RunId, RunRecord } from '../shared/records'
import { draft } from './draft.svelte'
import { runs } from './runs.svelte'
import { training } from './training.svelte'

export { rateText, smoothed } from '../insight/rehearsal'
export {
  forgettingVerdict,
  judgementVerdict,
  outcome,
  promptingVerdict,
  SCORES,
  scoreText,
  votesSentence,
  winRate,
} from '../insight/verdict'

type Work = 'judge' | 'change'

class Judging {
  /** What is under way, and on which run. */
  busy = $state.raw<{ work: Work; runId: RunId } | null>(null)
  progress = $state.raw<Progress | null>(null)
  error = $state.raw<(ErrorReport & { work: Work; runId: RunId }) | null>(null)

  /** Base beside tuned; what is found stays on the run. */
  async judge(request: JudgeRequest): Promise<void> {
    await this.#do('judge', request.runId, () => engine().judge(request, (progress) => (this.progress = progress)))
  }

  /** How far each layer was moved. */
  async measureChange(runId: RunId, checkpoint: CheckpointKind): Promise<void> {
    const onProgress = (progress: Progress) => (this.progress = progress)
    await this.#do('change', runId, () => engine().measureChange(runId, checkpoint, onProgress))
  }

  async cancel(): Promise<void> {
    await engine().cancelJudging()
  }

  async #do(work: Work, runId: RunId, call: () => Promise<RunRecord>): Promise<void> {
    if (this.busy) return
    this.busy = { work, runId }
    this.error = null
    this.progress = { stage: 'Setting up', done: 0, total: 0, unit: 'items' }
    try {
      const run = await call()
      training.renew(run)
      await runs.refresh()
    } catch (error) {
      const report = toReport(error)
      if (report.code !== 'cancelled') this.error = { ...report, work, runId }
    } finally {
      this.busy = null
      this.progress = null
    }
  }
}

class Rehearsing {
  kind = $state<RehearsalKind | 'prompting' | null>(null)
  /** What examples in the prompt do instead of tuning, where that was asked. */
  prompting = $state.raw<PromptingTrial | null>(null)
  progress = $state.raw<Progress | null>(null)
  /** The steps of the one under way. */
  steps = $state.raw<readonly RehearsalStep[]>([])
  result = $state.raw<Rehearsal | null>(null)
  error = $state.raw<ErrorReport | null>(null)
  /** The job that the result is of: with another one it no longer holds. */
  #job = $state.raw('')

  /** Whether the result is of the draft as it stands, but for the learning rate that it may itself have suggested. */
  current = $derived(this.#job === identity())
  verdict = $derived(this.result ? rehearsalVerdict(this.result, draft.job.learningRate) : null)

  /** Runs a rehearsal of the draft. */
  async start(kind: RehearsalKind | 'prompting'): Promise<void> {
    if (this.kind || training.live) return
    this.kind = kind
    this.steps = []
    this.result = null
    this.prompting = null
    this.error = null
    this.progress = { stage: 'Setting up', done: 0, total: 0, unit: 'items' }
    try {
      const job = completeJob({ ...draft.job })
      this.#job = identity()
      const onStep = (step: RehearsalStep) => (this.steps = [...this.steps, step])
      const onProgress = (progress: Progress) => (this.progress = progress)
      if (kind === 'prompting') this.prompting = await engine().tryPrompting(job, onProgress)
      else this.result = await engine().rehearse(kind, job, onStep, onProgress)
    } catch (error) {
      const report = toReport(error)
      if (report.code !== 'cancelled') this.error = report
    } finally {
      this.kind = null
      this.progress = null
    }
  }

  async cancel(): Promise<void> {
    await engine().cancelJudging()
  }
}

function identity(): string {
  return JSON.stringify({ ...draft.job, learningRate: 0 })
}

export const judging = new Judging()
export const rehearsing = new Rehearsing()
