/** The judging room's door: rows to judge by, base beside tuned, what was forgotten. Refuses to store anything. */
export { judge, type JudgeInput } from './judge'
export type { Turn } from './turn'
export { judgeRows, type ChosenRows, type JudgeData, type JudgeRow } from './rows'
export { tryPrompting, type PromptingInput } from './prompting'
export { rehearse } from './rehearse'
