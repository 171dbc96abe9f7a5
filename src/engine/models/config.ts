/**
 * Strict reading of config.json: every missing or absurd field is collected and reported in one error.
 * Refuses to guess: a field that decides the maths and has an unknown value is an error, never a default.
 */
import { CodedError } from '../../shared/errors'
import type { RopeConfig } from '../nn/rope'

/** What every family's config has, in the spelling of config.json where it stands there. */
export interface BaseConfig {
  readonly modelType: string
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly layers: number
  readonly heads: number
  readonly kvHeads: number
  readonly headDim: number
  readonly vocabulary: number
  readonly maxPositions: number
  readonly tied: boolean
}

const PLAIN_ROPES = ['default', 'linear', 'dynamic', 'llama3', 'yarn', 'longrope', 'su'] as const

/** A config.json (or an object inside it) with checked access; call {@link ConfigReader.finish} when all is read. */
export class ConfigReader {
  readonly #json: Record<string, unknown>
  readonly #problems: string[]
  readonly #prefix: string

  constructor(json: Record<string, unknown>, problems: string[] = [], prefix = '') {
    this.#json = json
    this.#problems = problems
    this.#prefix = prefix
  }

  /** Adds a problem of the caller's own. */
  problem(text: string): void {
    this.#problems.push(text)
  }

  has(name: string): boolean {
    return this.#json[name] !== undefined && this.#json[name] !== null
  }

  raw(name: string): unknown {
    return this.#json[name]
  }

  /** A whole number from `least` to `most`; `fallback` where the field is missing or null. What is bad is read as `least`. */
  integer(name: string, fallback?: number, least = 1, most = 2 ** 31): number {
    const value = this.#number(name, fallback)
    if (Number.isInteger(value) && value >= least && value <= most) return value
    if (!Number.isNaN(value))
      this.#problems.push(`${this.#prefix}${name} is ${value}, not a whole number from ${least} to ${most}.`)
    return least
  }

  /** A finite number above `above`. */
  number(name: string, fallback?: number, above = Number.NEGATIVE_INFINITY): number {
    const value = this.#number(name, fallback)
    if (value <= above) this.#problems.push(`${this.#prefix}${name} is ${value}, not above ${above}.`)
    return value
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.#json[name] ?? fallback
    if (typeof value === 'boolean') return value
    this.#problems.push(`${this.#prefix}${name} is ${JSON.stringify(value)}, not true or false.`)
    return fallback
  }

  /** One of the given names. */
  choice<T extends string>(name: string, choices: readonly T[], fallback?: T): T {
    const value = this.#json[name] ?? fallback
    if (choices.includes(value as T)) return value as T
    this.#problems.push(
      value === undefined
        ? `${this.#prefix}${name} is missing.`
        : `${this.#prefix}${name} is ${JSON.stringify(value)}; supported: ${choices.join(', ')}.`,
    )
    return choices[0] as T
  }

  /** A list of numbers, or undefined. */
  numbers(name: string): number[] | undefined {
    const value = this.#json[name]
    if (value === undefined || value === null) return undefined
    if (Array.isArray(value) && value.every((item) => typeof item === 'number' && Number.isFinite(item)))
      return value as number[]
    this.#problems.push(`${this.#prefix}${name} is not a list of numbers.`)
    return undefined
  }

  /** A list of strings, or undefined. */
  strings(name: string): string[] | undefined {
    const value = this.#json[name]
    if (value === undefined || value === null) return undefined
    if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value as string[]
    this.#problems.push(`${this.#prefix}${name} is not a list of names.`)
    return undefined
  }

  /** An object inside, sharing the list of problems; null where there is none. */
  object(name: string): ConfigReader | null {
    const value = this.#json[name]
    if (value === undefined || value === null) return null
    if (typeof value === 'object' && !Array.isArray(value))
      return new ConfigReader(value as Record<string, unknown>, this.#problems, `${this.#prefix}${name}.`)
    this.#problems.push(`${this.#prefix}${name} is not an object.`)
    return null
  }

  /** Refuses a field with any other value than the one that the code computes. */
  require(name: string, only: unknown): void {
    const value = this.#json[name]
    if (value !== undefined && value !== null && value !== only)
      this.#problems.push(
        `${this.#prefix}${name} is ${JSON.stringify(value)}; only ${JSON.stringify(only)} is supported.`,
      )
  }

  /** @throws CodedError `model.config` with everything that was wrong. */
  finish(): void {
    if (this.#problems.length === 0) return
    throw new CodedError('model.config', `The model's settings cannot be used: ${this.#problems.join(' ')}`, {
      where: 'config.json',
      fix: 'Take config.json from the same place as the weights, or choose another model.',
    })
  }

  #number(name: string, fallback?: number): number {
    const value = this.#json[name] ?? fallback
    if (typeof value === 'number' && Number.isFinite(value)) return value
    this.#problems.push(
      value === undefined
        ? `${this.#prefix}${name} is missing.`
        : `${this.#prefix}${name} is ${JSON.stringify(value)}, not a number.`,
    )
    return Number.NaN
  }
}

/** The fields that all families after GPT-2 spell alike. */
export function readBase(config: ConfigReader, modelType: string, tiedByDefault: boolean): BaseConfig {
  const hiddenSize = config.integer('hidden_size')
  const heads = config.integer('num_attention_heads')
  const kvHeads = config.integer('num_key_value_heads', heads)
  if (heads % kvHeads !== 0)
    config.problem(`num_attention_heads ${heads} is not a multiple of num_key_value_heads ${kvHeads}.`)
  if (!config.has('head_dim') && hiddenSize % heads !== 0)
    config.problem(`hidden_size ${hiddenSize} is not a multiple of num_attention_heads ${heads}.`)
  return {
    modelType,
    hiddenSize,
    heads,
    kvHeads,
    headDim: config.integer('head_dim', Math.floor(hiddenSize / heads)),
    intermediateSize: config.integer('intermediate_size'),
    layers: config.integer('num_hidden_layers', undefined, 1, 1000),
    vocabulary: config.integer('vocab_size'),
    maxPositions: config.integer('max_position_embeddings', 2048),
    tied: config.boolean('tie_word_embeddings', tiedByDefault),
  }
}

/**
 * Rope settings in both spellings: `rope_parameters` (transformers 5) or `rope_theta` with `rope_scaling`.
 * @param rotated channels of a head that are rotated.
 * @param from the object that holds the parameters, where they differ by layer type.
 */
export function readRope(
  config: ConfigReader,
  base: Pick<BaseConfig, 'maxPositions'>,
  rotated: number,
  options: { theta?: number; from?: ConfigReader | null } = {},
): RopeConfig {
  const inner = options.from ?? config.object('rope_parameters') ?? config.object('rope_scaling')
  const at = (name: string): ConfigReader => (inner?.has(name) ? inner : config)
  const named = inner?.has('rope_type') ? 'rope_type' : inner?.has('type') ? 'type' : null
  const type = named && inner ? inner.choice(named, PLAIN_ROPES) : 'default'
  if (rotated % 2 !== 0) config.problem(`${rotated} rotated channels a head is not an even number.`)
  const optional = (name: string): number | undefined => (inner?.has(name) ? inner.number(name) : undefined)
  const original =
    optional('original_max_position_embeddings') ??
    (config.has('original_max_position_embeddings') ? config.integer('original_max_position_embeddings') : undefined)
  const needsFactor = type === 'linear' || type === 'dynamic' || type === 'llama3' || type === 'yarn'
  const rope = {
    type: type === 'su' ? 'longrope' : type,
    theta: at('rope_theta').number('rope_theta', options.theta ?? 10000, 0),
    dim: rotated,
    maxPositions: base.maxPositions,
    factor: needsFactor && inner ? inner.number('factor', original && base.maxPositions / original, 0) : 1,
    originalMax: original,
    lowFreqFactor: optional('low_freq_factor'),
    highFreqFactor: optional('high_freq_factor'),
    betaFast: optional('beta_fast'),
    betaSlow: optional('beta_slow'),
    mscale: optional('mscale'),
    mscaleAllDim: optional('mscale_all_dim'),
    attentionFactor: optional('attention_factor'),
    truncate: inner?.boolean('truncate', true) ?? true,
    shortFactor: inner?.numbers('short_factor'),
    longFactor: inner?.numbers('long_factor'),
  } as const
  if (rope.type === 'longrope') {
    for (const [name, list] of [
      ['short_factor', rope.shortFactor],
      ['long_factor', rope.longFactor],
    ] as const) {
      if (list?.length !== rotated / 2) config.problem(`${name} has ${list?.length ?? 0} numbers, not ${rotated / 2}.`)
    }
  }
  return rope
}
