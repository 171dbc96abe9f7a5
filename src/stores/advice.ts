/** The page's way to what insight says about a curve. Refuses to act on it. */
export { diagnose, type Diagnosis } from '../insight/diagnosis'
