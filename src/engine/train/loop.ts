/**
 * The run from top to bottom: step, evaluate, sample, checkpoint, stop early. Refuses to store anything: it yields what happened,
 * and whoever pulls decides. Stopping to pull after any step event loses nothing.
 */
import type { RunMark, RunSample } from '../../shared/records'
import { DEFAULT_SAMPLING } from '../../shared/protocol'
import { classify, classText } from '../classify'
import { generate } from '../generate'
import { tf } from '../tf'
import { breathe } from './breathe'
import { evaluate } from './evaluate'
import type { SessionEvent, SessionOutcome } from './events'
import { interval, isDue, stepTokens } from './schedule'
import type { TrainSession } from './session'

/** The stage shown while shaders are compiled at the first step. */
const PREPARING = 'Preparing shaders'

/** See {@link TrainSession.run}. */
export async function* runLoop(session: TrainSession): AsyncGenerator<SessionEvent, SessionOutcome> {
  const total = session.totalSteps
  const evalEvery = interval(session.job.evalEvery, total)
  const saveEvery = interval(session.job.saveEvery, total)
  let fresh = tf.getBackend() === 'webgpu'
  // A checkpoint taken between a step and its evaluation: the evaluation comes first.
  let owed = session.step > 0 && !isSettled(session, evalEvery)
  if (session.preferences) yield* session.preferences.prepare()
  for (;;) {
    if (!owed) {
      if (session.step >= total || hasStoppedEarly(session)) break
      if (fresh) yield { kind: 'stage', stage: PREPARING, done: 0, total: 1 }
      const { event, mark } = await session.advance()
      if (fresh) yield { kind: 'stage', stage: PREPARING, done: 1, total: 1 }
      fresh = false
      yield event
      if (mark) yield { kind: 'mark', mark }
    }
    owed = false
    const evaluating = isDue(session.step, evalEvery, total)
    let isBest = false
    if (evaluating) isBest = yield* look(session)
    const ending = session.step >= total || hasStoppedEarly(session)
    yield* save(session, isBest, ending || isDue(session.step, saveEvery, total), ending)
    await breathe()
  }
  const { bestStep, bestEvalLoss } = session.progress
  return {
    reason: session.step >= total ? 'finished' : 'early-stop',
    step: session.step,
    bestStep: bestStep ?? session.step,
    bestEvalLoss,
  }
}

/** Whether everything that was due at the current step has been done. */
function isSettled(session: TrainSession, evalEvery: number): boolean {
  return !isDue(session.step, evalEvery, session.totalSteps) || !(owesEvaluation(session) || owesSample(session))
}

function owesEvaluation({ step, evalRows, metrics }: TrainSession): boolean {
  if (evalRows.length === 0) return false
  const losses = metrics.column('evalLoss')
  return !metrics.column('step').some((at, i) => at === step && !Number.isNaN(losses[i]))
}

function owesSample({ step, job, samplePrompt, samples }: TrainSession): boolean {
  if (samplePrompt === null || samplePrompt.length === 0 || job.sampleTokens === 0) return false
  return !samples.some((sample) => sample.step === step)
}

function hasStoppedEarly({ job, progress }: TrainSession): boolean {
  return job.earlyStop > 0 && progress.evalsWithoutBest >= job.earlyStop
}

/** Validation loss and sample, as far as they have not been taken at this step; says whether this is the best so far. */
async function* look(session: TrainSession): AsyncGenerator<SessionEvent, boolean> {
  const { step, progress, metrics } = session
  if (owesEvaluation(session)) {
    const started = performance.now()
    yield { kind: 'stage', stage: 'Evaluating', done: 0, total: session.evalRows.length }
    const { loss, rewards } = await session.judged(() => validate(session))
    session.spend(performance.now() - started)
    metrics.push({
      ...{ step, epoch: session.epoch, time: session.time, evalLoss: loss },
      ...(rewards ? { evalRewardMargin: rewards.rewardMargin, evalRewardAccuracy: rewards.rewardAccuracy } : {}),
    })
    const isBest = loss < (progress.bestEvalLoss ?? Number.POSITIVE_INFINITY)
    if (isBest) Object.assign(progress, { bestStep: step, bestEvalLoss: loss, evalsWithoutBest: 0 })
    else progress.evalsWithoutBest++
    yield { kind: 'eval', step, evalLoss: loss, ...rewards }
    if (isBest) yield note(session, { step, kind: 'best', text: `Best validation loss so far: ${loss.toFixed(4)}.` })
  }
  if (owesSample(session)) yield { kind: 'sample', sample: await sampleNow(session) }
  if (hasStoppedEarly(session)) {
    const text = `Stopped: ${progress.evalsWithoutBest} evaluations without a better validation loss.`
    yield note(session, { step, kind: 'early-stop', text })
  }
  return progress.bestStep === step
}

/** The loss that the run minimises, over the validation rows; and rewards, where it has them. */
async function validate(session: TrainSession): Promise<{
  loss: number
  rewards?: { rewardMargin: number; rewardAccuracy: number }
}> {
  const { model, adapter, evalRows, preferences, recorder, job } = session
  if (!preferences) {
    const found = await evaluate(model, adapter, evalRows, undefined, undefined, recorder, job.packing, stepTokens(job))
    return { loss: found.loss }
  }
  const { loss, rewardMargin, rewardAccuracy } = await preferences.evaluate(evalRows)
  return { loss, rewards: { rewardMargin, rewardAccuracy } }
}

function note(session: TrainSession, mark: RunMark): SessionEvent {
  session.marks.push(mark)
  return { kind: 'mark', mark }
}

/** The answer to the fixed prompt, greedy, so that only the adapter changes it. */
async function sampleNow(session: TrainSession): Promise<RunSample> {
  const started = performance.now()
  const { model, adapter, job, samplePrompt, step } = session
  const settings = { ...DEFAULT_SAMPLING, temperature: 0, repetitionPenalty: 1, maxNewTokens: job.sampleTokens, seed: job.seed } // prettier-ignore
  const { text } = await session.judged(async () => {
    if (adapter.classes) return { text: classText(await classify(model, adapter, samplePrompt ?? [])) }
    const answer = generate(model, adapter, samplePrompt ?? [], settings)
    let turn = await answer.next()
    while (!turn.done) turn = await answer.next()
    return turn.value
  })
  const prompt = model.tokenizer.decode(samplePrompt ?? [], { skipSpecialTokens: true })
  const sample: RunSample = { step, prompt, text }
  session.samples.push(sample)
  session.spend(performance.now() - started)
  return sample
}

/** The checkpoint event that is due, if any; at the end without evaluations the last is also the best. */
async function* save(
  session: TrainSession,
  isBest: boolean,
  isLast: boolean,
  ending: boolean,
): AsyncGenerator<SessionEvent, void> {
  const best = isBest || (ending && session.progress.bestStep === null)
  if (!best && !isLast) return
  const checkpoint = await session.checkpoint()
  yield { kind: 'checkpoint', kinds: [...(isLast ? ['last' as const] : []), ...(best ? ['best' as const] : [])], checkpoint } // prettier-ignore
}
