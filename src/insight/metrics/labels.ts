/** Predicted classes against true ones: confusion, accuracy, precision, recall, F1. Refuses to reward a prediction that is no class. */

/** How one class does. Ratios are 0 where there is nothing to divide by, as in scikit-learn with `zero_division=0`. */
interface ClassScores {
  label: string
  /** Rows that are of this class. */
  support: number
  precision: number
  recall: number
  f1: number
}

export interface LabelScores {
  accuracy: number
  /** Means over the classes, each counted once. */
  macroPrecision: number
  macroRecall: number
  macroF1: number
  classes: ClassScores[]
  /** `[true class][predicted class]`; the last column counts answers that are no class at all. */
  confusion: number[][]
}

/**
 * The class that an answer names: its text but for white space, case and a full stop at its end; -1 where it names none. Where
 * the answer goes on, its first line decides.
 */
export function classOf(answer: string, classes: readonly string[]): number {
  const plain = (text: string) =>
    text
      .trim()
      .replace(/[.!。]+$/u, '')
      .replaceAll(/\s+/gu, ' ')
      .toLowerCase()
  const whole = plain(answer)
  const firstLine = plain(answer.trim().split('\n')[0] ?? '')
  const exact = classes.findIndex((label) => label.trim() === answer.trim())
  if (exact >= 0) return exact
  const found = classes.findIndex((label) => plain(label) === whole)
  return found >= 0 ? found : classes.findIndex((label) => plain(label) === firstLine)
}

/**
 * Scores of predictions by class number. Macro means are over the classes that `classes` lists.
 * @param truth true class of each row.
 * @param predicted predicted class of each row; -1 for none.
 */
export function labelScores(
  truth: readonly number[],
  predicted: readonly number[],
  classes: readonly string[],
): LabelScores {
  const size = classes.length
  const confusion = classes.map(() => new Array<number>(size + 1).fill(0))
  truth.forEach((actual, row) => {
    const guess = predicted[row] ?? -1
    const counts = confusion[actual]
    if (counts) counts[guess < 0 || guess >= size ? size : guess]!++
  })
  const scores = classes.map((label, i): ClassScores => {
    const right = confusion[i]?.[i] ?? 0
    const support = sum(confusion[i] ?? [])
    const guessed = sum(confusion.map((row) => row[i] ?? 0))
    const precision = ratio(right, guessed)
    const recall = ratio(right, support)
    return { label, support, precision, recall, f1: ratio(2 * right, guessed + support) }
  })
  const mean = (pick: (one: ClassScores) => number) => ratio(sum(scores.map(pick)), size)
  return {
    accuracy: ratio(sum(classes.map((_, i) => confusion[i]?.[i] ?? 0)), truth.length),
    macroPrecision: mean((one) => one.precision),
    macroRecall: mean((one) => one.recall),
    macroF1: mean((one) => one.f1),
    classes: scores,
    confusion,
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole
}
