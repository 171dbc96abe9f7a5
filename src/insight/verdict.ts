/** What a judgement comes to, in one strong sentence first, and what to do next. Refuses to call a difference that may be chance. */
import { counted, figure, percent } from '../shared/format'
import type { Job } from '../shared/job'
import type {
  Forgetting,
  Interval,
  Judgement,
  JudgementVerdict,
  PromptingTrial,
  Score,
  ScoreKey,
  Vote,
} from '../shared/judgement'
import { wilson } from './metrics/interval'
import { sureSign } from './score'

/** Name of a score, how its number is written, and which way is better. */
export const SCORES: Record<
  ScoreKey,
  { label: string; help: string; better: 'higher' | 'lower'; unit: 'share' | 'points' | 'number' }
> = {
  loss: { label: 'Loss', help: 'Mean surprise a token, in nats.', better: 'lower', unit: 'number' },
  perplexity: {
    label: 'Perplexity',
    help: 'As if the model chose among this many equally likely tokens.',
    better: 'lower',
    unit: 'number',
  },
  tokenAccuracy: {
    label: 'Tokens right',
    help: 'How often the likeliest next token is the right one.',
    better: 'higher',
    unit: 'share',
  },
  exact: {
    label: 'Exactly right',
    help: 'The answer is the wanted text, but for white space.',
    better: 'higher',
    unit: 'share',
  },
  contains: {
    label: 'Contains it',
    help: 'The wanted text stands somewhere in the answer.',
    better: 'higher',
    unit: 'share',
  },
  pattern: { label: 'Fits the pattern', help: 'The answer matches your pattern.', better: 'higher', unit: 'share' },
  jsonValid: {
    label: 'Valid JSON',
    help: 'The answer can be read as a JSON object or list.',
    better: 'higher',
    unit: 'share',
  },
  fields: {
    label: 'Fields right',
    help: 'Fields with the wanted value; missing, wrong and added ones cost.',
    better: 'higher',
    unit: 'share',
  },
  rougeL: {
    label: 'ROUGE-L',
    help: 'Words in common with the wanted answer, in the same order; 1 is all.',
    better: 'higher',
    unit: 'number',
  },
  bleu: {
    label: 'BLEU',
    help: 'Runs of one to four words in common, 0 to 100, as sacrebleu counts.',
    better: 'higher',
    unit: 'points',
  },
  chrf: {
    label: 'chrF',
    help: 'Runs of characters in common, 0 to 100, as sacrebleu counts; kind to inflected languages.',
    better: 'higher',
    unit: 'points',
  },
  accuracy: {
    label: 'Accuracy',
    help: 'The share of rows whose class is named rightly.',
    better: 'higher',
    unit: 'share',
  },
  macroF1: {
    label: 'Macro F1',
    help: 'F1 of each class, every class counted once, however rare.',
    better: 'higher',
    unit: 'share',
  },
  macroPrecision: {
    label: 'Macro precision',
    help: 'Of the times a class is named, how often it is right.',
    better: 'higher',
    unit: 'share',
  },
  macroRecall: {
    label: 'Macro recall',
    help: 'Of the rows of a class, how many are found.',
    better: 'higher',
    unit: 'share',
  },
}

/** A score's number as people read it. */
export function scoreText(key: ScoreKey, value: number): string {
  const { unit } = SCORES[key]
  if (!Number.isFinite(value)) return '–'
  return unit === 'share' ? percent(value) : unit === 'points' ? value.toFixed(1) : figure(value)
}

/** +1 where the tuned model is surely better by a score, -1 surely worse, 0 where it may be chance. */
export function outcome({ key, difference }: Score): -1 | 0 | 1 {
  const sign = sureSign(difference)
  return SCORES[key].better === 'higher' ? sign : ((-sign || 0) as -1 | 0 | 1)
}

/** A rise of general perplexity from which a person should know of it, and one at which the model is harmed. */
const FORGETS = 0.05
const HARMED = 0.3
/** The share of general text that holds most of what a model knew. */
const REPLAY = 0.2

/** The sentence on a judgement. @param job of the run, for what to change. */
export function judgementVerdict(judgement: Judgement, job: Job): JudgementVerdict {
  const lead = judgement.scores.find(({ key }) => key === judgement.lead)
  if (!lead) return { tone: 'fair', text: 'Nothing could be measured.' }
  const sign = outcome(lead)
  const loss = judgement.scores.find(({ key }) => key === 'loss')
  if (sign < 0 || (loss && sign === 0 && outcome(loss) < 0))
    return worse(judgement, sign < 0 ? lead : (loss ?? lead), job)
  const seen = judgement.rows === 'trained on'
  const on = seen
    ? 'on rows it was trained on, which says little about new ones'
    : judgement.rows === 'held back'
      ? 'on rows it never saw'
      : `on ${judgement.dataset}`
  if (sign === 0) {
    return {
      tone: 'fair',
      text: `No clear difference from the base ${on}: ${beside(lead)}.`,
      advice:
        'Train for longer or at a higher rate, or add examples; more rows to judge by make smaller differences show.',
    }
  }
  const shots = shotsAdvice(lead)
  const forgot = judgement.forgetting && forgettingVerdict(judgement.forgetting, job)
  const advice = shots ?? (forgot && forgot.tone !== 'good' ? 'See below what it forgot of other text.' : undefined)
  return {
    tone: seen || lead.tuned.value < 0.5 * best(lead) ? 'fair' : 'good',
    text: `Clearly better than the base ${on}: ${beside(lead)}.`,
    ...(advice ? { advice } : {}),
  }
}

/** What a full score would be; perplexity has none that a language model could reach. */
function best({ key, tuned }: Score): number {
  return SCORES[key].better === 'lower' ? tuned.value : SCORES[key].unit === 'points' ? 100 : 1
}

function beside({ key, base, tuned }: Score): string {
  const name = SCORES[key].label.toLowerCase().replace('rouge-l', 'ROUGE-L')
  return `${name} ${scoreText(key, tuned.value)} instead of ${scoreText(key, base.value)}`
}

function worse(judgement: Judgement, score: Score, job: Job): JudgementVerdict {
  const { learningRate, epochs, steps } = job
  const rate = learningRate / 3
  return {
    tone: 'poor',
    text: `Worse than the base ${judgement.rows === 'trained on' ? 'even on its own rows' : 'on new rows'}: ${beside(score)}.`,
    advice:
      judgement.checkpoint === 'last'
        ? 'Judge the best checkpoint, or train anew more gently.'
        : 'Train anew more gently, or try a lower strength in Try.',
    change: {
      learningRate: rate,
      ...(steps > 0 ? { steps: Math.ceil(steps / 2) } : { epochs: Math.max(0.5, epochs / 2) }),
    },
    changeText: `Use a third of the learning rate (${figure(rate)}) and half the time`,
  }
}

/** Where examples in the prompt do as well, tuning may not be needed. */
function shotsAdvice({ key, tuned, shots }: Score): string | undefined {
  if (!shots) return undefined
  const nearly = SCORES[key].better === 'higher' ? shots.value >= 0.9 * tuned.value : shots.value <= 1.1 * tuned.value
  return nearly
    ? `The base with examples in its prompt does about as well (${scoreText(key, shots.value)}): prompting may be enough.`
    : `Examples in the prompt instead of tuning give ${scoreText(key, shots.value)}.`
}

/** From which share of a full score examples in the prompt do. */
const PROMPTING_DOES = 0.8

/** Whether examples in the prompt would do instead of tuning. */
export function promptingVerdict({
  shots,
  answered,
  key,
  without,
  withExamples,
  difference,
}: PromptingTrial): JudgementVerdict {
  const full = SCORES[key].unit === 'points' ? 100 : 1
  const does = withExamples.value >= PROMPTING_DOES * full
  const name = SCORES[key].label.toLowerCase().replace('rouge-l', 'ROUGE-L').replace('json', 'JSON')
  const found = `${name} ${scoreText(key, withExamples.value)} with ${shots} examples in the prompt, ${scoreText(key, without.value)} without, over ${counted(answered, 'row')}`
  if (does)
    return {
      tone: 'good',
      text: `Prompting may do without tuning: ${found}.`,
      advice: 'Put a few of your examples before each question. Tuning saves their tokens, and may still do better.',
    }
  const helps = sureSign(difference) > 0
  return {
    tone: 'fair',
    text: `${helps ? 'Examples in the prompt help, and tuning has more to give' : 'Examples in the prompt hardly help here: tuning is what can'}: ${found}.`,
  }
}

/** What was lost of general text, in one sentence, with what to do where it is much. */
export function forgettingVerdict({ rise, passages }: Forgetting, job: Job): JudgementVerdict {
  const by = percent(Math.abs(rise.value))
  if (rise.value < FORGETS || !(rise.low > 0)) {
    const text =
      rise.value < 0
        ? `Nothing is forgotten: general text is ${by} easier to predict than before.`
        : `Next to nothing is forgotten: general text is ${by} harder to predict, over ${passages} passages.`
    return { tone: 'good', text }
  }
  const harmed = rise.value >= HARMED
  return {
    tone: harmed ? 'poor' : 'fair',
    text: `${harmed ? 'Much' : 'Some'} is forgotten: general text is ${by} harder to predict than for the base.`,
    advice:
      'That does not matter to a model for one task. Where it does: lower the strength in Try, train more gently, or mix general examples in.',
    ...(job.replayShare > 0
      ? {
          change: { learningRate: job.learningRate / 2 },
          changeText: `Use half the learning rate (${figure(job.learningRate / 2)})`,
        }
      : { change: { replayShare: REPLAY }, changeText: `Mix in ${percent(REPLAY)} general text` }),
  }
}

/** Blind votes so far: the tuned model's share of the wins with Wilson's interval; ties count half to either. */
export function winRate(votes: readonly Vote[]): Interval & { votes: number; ties: number } {
  const ties = votes.filter(({ winner }) => winner === 'tie').length
  const wins = votes.filter(({ winner }) => winner === 'tuned').length + ties / 2
  return { ...wilson(wins, votes.length), votes: votes.length, ties }
}

/** The votes in one sentence. */
export function votesSentence(votes: readonly Vote[]): string {
  const { value, low, high, votes: total } = winRate(votes)
  if (total === 0) return 'No votes yet.'
  const range = `${percent(low)} to ${percent(high)}`
  const all = counted(total, 'vote')
  if (low > 0.5) return `You like the tuned model better: ${percent(value)} of ${all} (${range}).`
  if (high < 0.5) return `You like the base better: the tuned model has ${percent(value)} of ${all} (${range}).`
  return `No clear winner yet: the tuned model has ${percent(value)} of ${all} (${range}).`
}
