/** Looks through a dataset for what spoils training: row by row and in total. Refuses to change a row: the steps do that. */
import type { Tokenizer } from '../../engine/tokenizer'
import type { ChatTemplate } from '../../engine/tokenizer/chat-template'
import { CodedError, toReport } from '../../shared/errors'
import type { OnProgress } from '../../shared/files'
import type { Mapping } from '../../shared/records'
import { asRead } from '../../shared/roles'
import { Splitter, type SplitSettings } from '../batch/keys'
import { encodeExample } from '../encode/encode'
import { mapRow } from '../formats/map'
import { partsOf, type Parts } from '../formats/parts'
import { unknownFormat, withBreaks } from '../prepare'
import type { EncodedExample, EncodeOptions, Example, RawRow, RowSource } from '../types'
import { CharacterCheck } from './characters'
import { languageOf } from './language'
import { NearIndex } from './near'
import { findPersonal } from './personal'
import { isRefusal, licenceIn, phrasesOf, PhraseCounter, placeholderIn } from './phrases'
import { Lengths } from './lengths'
import { keysOf } from './shared'
import type { AuditReport, Finding, FindingKind } from './types'
import { verdictOf } from './verdict'

export interface AuditOptions extends EncodeOptions, SplitSettings {
  batchSize: number
  /** Without a model, what depends on tokens is left out. */
  model?: { tokenizer: Tokenizer; template: ChatTemplate }
  /** Validation rows of their own. */
  evaluation?: { rows: RowSource; mapping: Mapping }
  total?: number
  onProgress?: OnProgress
  signal?: AbortSignal
}

const REPORT = 256
/** Findings of one row whose share makes them the dataset's character and not a fault. */
const MOST_LANGUAGE = 0.8
const RARE_LANGUAGE = 0.05

/**
 * The whole report.
 * @throws CodedError `data.columns` where the format is not known; `cancelled` on abort.
 */
export async function audit(rows: RowSource, mapping: Mapping, options: AuditOptions): Promise<AuditReport> {
  const run = new Audit(mapping, options)
  await run.read(rows, mapping, 'train')
  if (options.evaluation) await run.read(options.evaluation.rows, options.evaluation.mapping, 'eval')
  return run.finish()
}

type Side = Finding['side']
interface Place {
  row: number
  side: Side
}

class Audit {
  readonly #mapping: Mapping
  readonly #options: AuditOptions
  readonly #findings: Finding[] = []
  #rows = 0
  readonly #wholes = new Map<number, Place>()
  readonly #prompts = new Map<number, { answer: number; place: Place; conflicts: boolean }>()
  readonly #near = new NearIndex()
  /** Place of each text of the near index. */
  readonly #nearPlaces: Place[] = []
  readonly #repeats: { place: Place; of: Place }[] = []
  readonly #characters: CharacterCheck | undefined
  readonly #lost: Record<string, number> = {}
  readonly #phrases = new PhraseCounter()
  readonly #opened: { place: Place; phrases: string[] }[] = []
  readonly #languages: { place: Place; language: string }[] = []
  readonly #classes: Record<string, number> = {}
  readonly #lengths = new Lengths()
  readonly #usable: number[] = []
  readonly #splitter: Splitter

  constructor(mapping: Mapping, options: AuditOptions) {
    this.#mapping = mapping
    this.#options = options
    this.#splitter = new Splitter(options.evaluation ? { ...options, evalFraction: 0 } : options)
    this.#characters = options.model && new CharacterCheck(options.model.tokenizer)
  }

  async read(rows: RowSource, given: Mapping, side: Side): Promise<void> {
    const mapping = asRead(given)
    if (mapping.format === 'unknown') throw unknownFormat()
    const { onProgress, signal, total = 0 } = this.#options
    let row = 0
    for await (const raw of withBreaks(rows, signal)) {
      this.#look(raw, mapping, { row: row++, side })
      if (row % REPORT === 0) onProgress?.({ stage: 'Looking through the rows', done: row, total, unit: 'rows' })
    }
    if (side === 'train') this.#rows += row
  }

  #note(kind: FindingKind, place: Place, text: string, more: Partial<Finding> = {}): void {
    this.#findings.push({ kind, ...place, text, ...more })
  }

  #look(raw: RawRow, mapping: Mapping, place: Place): void {
    let example: Example
    try {
      example = mapRow(raw, mapping)
    } catch (error) {
      if (!(error instanceof CodedError)) throw error
      this.#note('unusable', place, toReport(error).what)
      return
    }
    const parts = partsOf(example)
    // A validation file is looked through for leaks alone: its own faults are found when it is the dataset.
    if (place.side === 'eval') {
      this.#compare(parts, place)
      return
    }
    if (!this.#encode(example, place)) return
    this.#usable.push(place.row)
    this.#splitter.add(raw, example)
    this.#compare(parts, place)
    if (example.kind === 'tokens') return
    this.#read(parts, mapping, place)
  }

  /** Length, cuts, learnt tokens and the end; whether the row can be trained on. */
  #encode(example: Example, place: Place): boolean {
    const { model } = this.#options
    if (!model) return true
    const encoded = encodeExample(example, model.tokenizer, model.template, this.#options)
    if (encoded.problem !== undefined) {
      this.#note(encoded.trainedTokens === 0 ? 'no-trained-tokens' : 'unusable', place, encoded.problem)
      return false
    }
    this.#lengths.add(encoded)
    if (encoded.truncated > 0) {
      this.#note('truncated', place, `${encoded.truncated} tokens at the end are cut off by the maximum length.`)
    } else if (!endsTrained(encoded, model.tokenizer)) {
      this.#note(
        'missing-end',
        place,
        'The answer ends without an end token that is learnt: the model will not learn to stop.',
      )
    }
    return true
  }

  #compare({ prompt, answer }: Parts, place: Place): void {
    const { asked, answered, whole } = keysOf({ prompt, answer })
    const same = this.#wholes.get(whole)
    if (same) {
      this.#note('exact-duplicate', place, `The row repeats row ${same.row + 1} word for word.`, {
        of: same.row,
        ofSide: same.side,
      })
      this.#repeats.push({ place, of: same })
      return
    }
    this.#wholes.set(whole, place)
    if (this.#conflict(prompt, asked, answered, place)) return
    const near = this.#near.add(`${prompt}\n${answer}`)
    this.#nearPlaces.push(place)
    if (!near) return
    const of = this.#nearPlaces[near.of] as Place
    const share = Math.round(near.similarity * 100)
    this.#note('near-duplicate', place, `The row is ${share}% the same as row ${of.row + 1}.`, {
      of: of.row,
      ofSide: of.side,
    })
    this.#repeats.push({ place, of })
  }

  #conflict(prompt: string, asked: number, answered: number, place: Place): boolean {
    if (prompt.trim() === '') return false
    const known = this.#prompts.get(asked)
    if (!known) {
      this.#prompts.set(asked, { answer: answered, place, conflicts: false })
      return false
    }
    known.conflicts = true
    const { row, side } = known.place
    this.#note('conflict', place, `The prompt of row ${row + 1} has another answer here.`, { of: row, ofSide: side })
    this.#repeats.push({ place, of: known.place })
    return true
  }

  #read({ prompt, answer }: Parts, mapping: Mapping, place: Place): void {
    const all = `${prompt}\n${answer}`
    const personal = [...new Set(findPersonal(all).map((span) => span.kind))]
    if (personal.length > 0)
      this.#note('personal', place, `The row holds personal data: ${personal.join(', ')}.`, { personal })
    const placeholder = placeholderIn(answer)
    if (placeholder !== undefined)
      this.#note('placeholder', place, `The answer still holds a placeholder: ${placeholder}`)
    const licence = licenceIn(all)
    if (licence !== undefined) this.#note('licence', place, `The row carries a licence note: ${licence}`)
    if (isRefusal(answer)) this.#note('refusal', place, 'The answer declines to answer.')
    const lost = this.#characters?.lost(all) ?? []
    for (const character of lost) this.#lost[character] = (this.#lost[character] ?? 0) + 1
    if (lost.length > 0)
      this.#note('unknown-characters', place, `The tokenizer cannot carry ${lost.slice(0, 8).join(' ')}.`)
    if (mapping.format === 'label') this.#classes[answer] = (this.#classes[answer] ?? 0) + 1
    else if (mapping.format !== 'text') {
      this.#phrases.add(answer)
      this.#opened.push({ place, phrases: phrasesOf(answer) })
    }
    this.#languages.push({ place, language: languageOf(all) })
  }

  /** Rows of one side that repeat a row of the other. */
  #leaks(): void {
    const held = new Set(this.#splitter.split().eval.map((i) => this.#usable[i] as number))
    const isHeld = ({ row, side }: Place) => side === 'eval' || held.has(row)
    for (const { place, of } of this.#repeats) {
      if (isHeld(place) === isHeld(of)) continue
      const [validation, training] = isHeld(place) ? [place, of] : [of, place]
      const text = `The validation row is also row ${training.row + 1} of the training rows: its loss says nothing.`
      this.#note('leak', validation, text, { of: training.row, ofSide: training.side })
    }
  }

  #boilerplate(common: readonly { text: string; rows: number }[]): void {
    const phrases = new Map(common.map((entry) => [entry.text, entry.rows]))
    for (const { place, phrases: own } of this.#opened) {
      const phrase = own.find((text) => phrases.has(text))
      if (phrase !== undefined)
        this.#note('boilerplate', place, `${phrases.get(phrase)} answers say "${phrase.slice(0, 60)}".`)
    }
  }

  #minorities(languages: Record<string, number>): void {
    const told = this.#languages.filter(({ language }) => language !== '')
    const [main] = Object.entries(languages)
      .filter(([code]) => code !== '')
      .sort((a, b) => b[1] - a[1])
    if (!main || told.length < 20 || main[1] < MOST_LANGUAGE * told.length) return
    for (const { place, language } of told) {
      if (language === main[0] || (languages[language] ?? 0) > RARE_LANGUAGE * told.length) continue
      this.#note('language', place, `The row is in "${language}", most others in "${main[0]}".`)
    }
  }

  finish(): AuditReport {
    const languages: Record<string, number> = {}
    for (const { language } of this.#languages) languages[language] = (languages[language] ?? 0) + 1
    const phrases = this.#phrases.common()
    this.#leaks()
    this.#boilerplate(phrases)
    this.#minorities(languages)
    const findings = this.#findings.sort((a, b) => (a.side === b.side ? a.row - b.row : a.side === 'train' ? -1 : 1))
    const counts = countKinds(findings)
    const spoilt = new Set(findings.filter(isOwn).flatMap(({ kind, row }) => (SPOILS.has(kind) ? [row] : [])))
    const { model, batchSize, maxLength, seed } = this.#options
    const report = {
      rows: this.#rows,
      goodRows: this.#rows - spoilt.size,
      counts,
      findings,
      conflictingPrompts: [...this.#prompts.values()].filter((entry) => entry.conflicts).length,
      lengths: model ? this.#lengths.distributions() : null,
      suggestedMaxLength: model ? this.#lengths.suggestion() : null,
      padding: model ? this.#lengths.padding(batchSize, maxLength, seed) : null,
      languages,
      classes: this.#mapping.format === 'label' ? this.#classes : null,
      phrases,
      lostCharacters: this.#lost,
    }
    return { ...report, ...verdictOf(report) }
  }
}

/** Faults that make a row useless or harmful as it stands. */
const SPOILS: ReadonlySet<FindingKind> = new Set([
  'unusable',
  'no-trained-tokens',
  'exact-duplicate',
  'near-duplicate',
  'conflict',
  'leak',
  'placeholder',
])

const KINDS: readonly FindingKind[] = [
  'unusable',
  'no-trained-tokens',
  'exact-duplicate',
  'near-duplicate',
  'conflict',
  'leak',
  'truncated',
  'missing-end',
  'unknown-characters',
  'personal',
  'placeholder',
  'refusal',
  'licence',
  'boilerplate',
  'language',
]

/** Whether a finding is about a row of the dataset, and not of its validation file. */
const isOwn = ({ side }: Finding) => side === 'train'

function countKinds(findings: readonly Finding[]): Record<FindingKind, number> {
  const counts = Object.fromEntries(KINDS.map((kind) => [kind, 0])) as Record<FindingKind, number>
  for (const finding of findings) if (isOwn(finding) || finding.kind === 'leak') counts[finding.kind]++
  return counts
}

/** Whether the last token that is learnt ends an answer. */
function endsTrained(encoded: EncodedExample, tokenizer: Tokenizer): boolean {
  const last = encoded.labels.findLastIndex((label) => label !== -100)
  const id = encoded.labels[last] as number
  return tokenizer.endIds.has(id) || (tokenizer.specialIds.has(id) && id !== tokenizer.bosId)
}
