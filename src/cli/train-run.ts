/**
 * Pulls a training session to its end: prints what happens, stores checkpoints, and ends in good order when interrupted.
 * Refuses to decide anything about the training itself.
 */
import { join } from 'node:path'
import type { SessionEvent, SessionOutcome, StepEvent, TrainSession } from '../engine'
import type { Checkpoint, CheckpointKind } from '../shared/records'
import type { CommandContext } from './context'
import { INTERRUPTED } from './interrupt'
import type { Output } from './output'
import { formatDuration, formatNumber, tableRow } from './output'
import type { RunNote } from './session-folder'
import { storeCheckpoint } from './session-folder'

interface Run {
  out: string
  note: RunNote
  context: CommandContext
  /** The step that the run goes on from; 0 for a new one. */
  resumedAt: number
}

/** Runs a session; the exit code: 0, or 130 after an interrupt and its checkpoint. */
export async function runSession(session: TrainSession, run: Run): Promise<number> {
  const { output, interrupt } = run.context
  const display = new TrainDisplay(output, session.totalSteps)
  if (run.resumedAt > 0) output.note(`Goes on after step ${run.resumedAt} of ${session.totalSteps}.`)
  output.note(`${session.trainableParameters.toLocaleString('en')} trainable values, ${session.totalSteps} steps\n`)
  const events = session.run()
  let next = await events.next()
  for (; !next.done; next = await events.next()) {
    const event = next.value
    if (event.kind === 'checkpoint') await store(run, event.kinds, event.checkpoint)
    else display.show(event)
    if (event.kind === 'step' && (await interrupt.breathe())) return pauseRun(session, run)
  }
  finish(run, next.value, session.time, display)
  return 0
}

/** Stops between two steps: whatever was due after this one is made up for by the resumed run. */
async function pauseRun(session: TrainSession, run: Run): Promise<number> {
  const { output } = run.context
  const checkpoint = await session.checkpoint()
  await store(run, ['last'], checkpoint)
  const { step, totalSteps } = checkpoint.meta
  output.event('interrupted', { step, total_steps: totalSteps, out: run.out })
  output.warn(`Stopped after step ${step} of ${totalSteps}; the same command with --resume goes on.`)
  return INTERRUPTED
}

async function store(run: Run, kinds: readonly CheckpointKind[], checkpoint: Checkpoint): Promise<void> {
  await storeCheckpoint(run.out, kinds, checkpoint, run.note)
  const paths = kinds.map((kind) => join(run.out, `checkpoint-${kind}`))
  run.context.output.event('checkpoint', { step: checkpoint.meta.step, kinds, paths })
}

function finish(run: Run, outcome: SessionOutcome, ms: number, display: TrainDisplay): void {
  const { output } = run.context
  const { reason, step, bestStep, bestEvalLoss } = outcome
  output.event('done', { out: run.out, reason, step, best_step: bestStep, best_eval_loss: bestEvalLoss, ms })
  display.end()
  const loss = bestEvalLoss === null ? '' : `, validation loss ${formatNumber(bestEvalLoss)}`
  output.note(`\nDone in ${formatDuration(ms)}. The result of step ${bestStep}${loss}:\n  ${run.out}`)
}

const COLUMNS = [
  { title: 'step', width: 8 },
  { title: 'epoch', width: 7 },
  { title: 'loss', width: 9 },
  { title: 'val. loss', width: 9 },
  { title: 'lr', width: 9 },
  { title: 'grad norm', width: 9 },
  { title: 'tokens/s', width: 8 },
]

const PREFERRED = { title: 'preferred', width: 9 }

function rewardsOf({ rewardMargin, rewardAccuracy }: { rewardMargin?: number; rewardAccuracy?: number }): object {
  return rewardMargin === undefined ? {} : { reward_margin: rewardMargin, reward_accuracy: rewardAccuracy }
}

/** A run on the terminal: a bar that moves with each step, and a table row for each evaluation. */
class TrainDisplay {
  readonly #output: Output
  readonly #total: number
  #last: StepEvent | null = null
  #shown = 0
  /** ms a step, smoothed. */
  #pace = 0

  constructor(output: Output, total: number) {
    this.#output = output
    this.#total = total
  }

  show(event: Exclude<SessionEvent, { kind: 'checkpoint' }>): void {
    switch (event.kind) {
      case 'stage':
        return this.#output.progress({ stage: event.stage, done: event.done, total: event.total, unit: 'items' })
      case 'step':
        return this.#step(event)
      case 'eval':
        this.#output.event('eval', {
          ...{ step: event.step, eval_loss: event.evalLoss },
          ...rewardsOf(event),
        })
        return this.#row(event.evalLoss, event.rewardAccuracy)
      case 'sample':
        this.#output.event('sample', { ...event.sample })
        return this.#output.note(`          “${event.sample.text.trim().replaceAll(/\s+/g, ' ').slice(0, 100)}”`)
      case 'mark':
        this.#output.event('mark', { ...event.mark })
        if (['skipped', 'rescaled', 'rolled-back', 'early-stop'].includes(event.mark.kind))
          this.#output.note(event.mark.text)
    }
  }

  /** The last row of the table, if it was not shown yet. */
  end(): void {
    if (this.#last && this.#shown !== this.#last.step) this.#row(null)
    this.#output.endBar()
  }

  #step(event: StepEvent): void {
    this.#last = event
    const { step, epoch, loss, gradNorm, learningRate, tokens, stepTime } = event
    const numbers = { step, loss, grad_norm: gradNorm, lr: learningRate, tokens, ms: stepTime, epoch }
    this.#output.event('step', { ...numbers, ...rewardsOf(event) })
    this.#pace = this.#pace === 0 ? stepTime : 0.9 * this.#pace + 0.1 * stepTime
    const left = formatDuration(this.#pace * (this.#total - step))
    const words = `Step ${step} of ${this.#total} · loss ${formatNumber(loss)} · ${perSecond(event)} tokens/s · ${left} left`
    this.#output.bar(step / this.#total, words)
  }

  /** @param preferred share of validation rows whose better answer has the higher reward, in runs over preferences. */
  #row(evalLoss: number | null, preferred?: number): void {
    const step = this.#last
    const columns = step?.rewardAccuracy === undefined ? COLUMNS : [...COLUMNS, PREFERRED]
    if (this.#shown === 0)
      this.#output.note(
        tableRow(
          columns.map(({ title }) => title),
          columns,
        ),
      )
    this.#shown = step?.step ?? 0
    const cells = step
      ? [
          step.step,
          step.epoch,
          step.loss,
          evalLoss,
          step.learningRate,
          step.gradNorm,
          perSecond(step),
          preferred ?? null,
        ]
      : [0, 0, null, evalLoss]
    this.#output.note(tableRow(cells.slice(0, columns.length), columns))
  }
}

function perSecond(event: StepEvent): number {
  return event.stepTime > 0 ? Math.round((1000 * event.tokens) / event.stepTime) : 0
}
