/** The kinds of setting that a job has, and what is said of each. Refuses to name any: those are the other files of this folder. */

export type Group = 'model' | 'data' | 'method' | 'optimiser' | 'schedule' | 'evaluation' | 'run'

interface Base<T> {
  readonly group: Group
  readonly label: string
  /** One sentence a newcomer understands and an expert agrees with. */
  readonly help: string
  readonly default: T
  /** What a person sees when the value is too low / too high. */
  readonly tooLow?: string
  readonly tooHigh?: string
  /** Command-line flag without dashes, where it is not the key in kebab case. */
  readonly flag?: string
  /** One of the few settings shown before "Advanced". */
  readonly first?: true
  /** Shown after the value. */
  readonly unit?: string
  /** What a zero means, for settings where zero is not a quantity ("automatic", "off"). */
  readonly zero?: string
  /** Part of where things come from rather than how to train; the form does not list it. */
  readonly hidden?: true
  /** The values of other settings under which this one does anything; see {@link applies}. */
  readonly when?: Readonly<Record<string, readonly (string | number | boolean)[]>>
}

export interface NumberSetting extends Base<number> {
  readonly kind: 'integer' | 'number'
  readonly min: number
  readonly max: number
  /** Steps on a logarithmic scale (learning rates). */
  readonly log?: true
}
export interface ChoiceSetting<C extends string> extends Base<C> {
  readonly kind: 'choice'
  readonly choices: { readonly [K in C]: string }
}
export interface SwitchSetting extends Base<boolean> {
  readonly kind: 'switch'
}
export interface TextSetting extends Base<string> {
  readonly kind: 'text'
  /** What a text that is not empty must look like, and how that is said after the setting's name. */
  readonly form?: { readonly pattern: RegExp; readonly says: string }
}
export interface ListSetting extends Base<readonly string[]> {
  readonly kind: 'list'
  readonly choices: readonly string[]
}
export type Setting = NumberSetting | ChoiceSetting<string> | SwitchSetting | TextSetting | ListSetting

export const integer = (s: Omit<NumberSetting, 'kind'>): NumberSetting => ({ kind: 'integer', ...s })
export const number = (s: Omit<NumberSetting, 'kind'>): NumberSetting => ({ kind: 'number', ...s })
// Inferred from the choices, not from what the table asks for: a job's type keeps "cosine" | "linear" | "constant".
export const choice = <T extends Record<string, string>>(
  s: Omit<ChoiceSetting<keyof T & string>, 'kind' | 'choices'> & { readonly choices: T },
): ChoiceSetting<keyof T & string> => ({ kind: 'choice', ...s })
export const toggle = (s: Omit<SwitchSetting, 'kind'>): SwitchSetting => ({ kind: 'switch', ...s })
export const text = (s: Omit<TextSetting, 'kind'>): TextSetting => ({ kind: 'text', ...s })
export const list = (s: Omit<ListSetting, 'kind'>): ListSetting => ({ kind: 'list', ...s })
