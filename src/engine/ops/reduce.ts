/** WGSL snippets that several programs share: reductions over a workgroup, ways through rows, elements and several tensors, and a safe tanh. */
import { isSoftware, processorWidth } from './gpu'

/** 0 … count − 1, to write a line of WGSL for each. */
export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

/** Threads of a workgroup that works on one row: on a processor no more than it computes side by side, for it pays dearly for barriers. */
export function rowThreads(): number {
  return isSoftware() ? processorWidth() : 64
}

/** `total(tid, value)`: the sum over the workgroup's {@link rowThreads} threads, for a scalar or vector type; call it in uniform control flow. */
export function totalWGSL(type = 'f32'): string {
  return `var<workgroup> scratch: array<${type}, ${rowThreads()}>;
fn total(tid: u32, value: ${type}) -> ${type} {
  scratch[tid] = value;
  workgroupBarrier();
  for (var span = ${rowThreads() / 2}u; span > 0u; span /= 2u) {
    if (tid < span) { scratch[tid] += scratch[tid + span]; }
    workgroupBarrier();
  }
  let sum = scratch[0];
  workgroupBarrier();
  return sum;
}`
}

/** Entry point whose workgroups take one row each: `row` and `tid` are in scope, rows beyond `u.rows` do nothing. */
export function rowMain(body: string): string {
  return `@compute @workgroup_size(${rowThreads()})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let row = wid.y * groups.x + wid.x;
  if (row < u.rows) { ${body} }
}`
}

/** Entry point with one thread an element: `i` is in scope and below `u.size`. */
export function elementMain(body: string): string {
  return `@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let i = (wid.y * groups.x + wid.x) * 64u + tid;
  if (i < u.size) { ${body} }
}`
}

/** Uniforms of a program that goes through several tensors of these sizes, and its workgroups: `span` values each, of one tensor. */
export function several(sizes: readonly number[], span: number): { uniforms: Record<string, number>; groups: number } {
  const uniforms: Record<string, number> = { span }
  let groups = 0
  sizes.forEach((size, n) => {
    uniforms[`size${n}`] = size
    uniforms[`from${n}`] = groups
    groups += Math.ceil(size / span)
  })
  return { uniforms: { ...uniforms, groups }, groups }
}

/** Entry point of such a program, with `threads` a workgroup: the body of tensor n has its elements `begin` to before `end` and `tid` in scope. */
export function severalMain(count: number, threads: number, body: (n: number) => string): string {
  const cases = Array.from({ length: count }, (_, n) => {
    const within = n + 1 < count ? `if (group < u.from${n + 1}) ` : ''
    return `${within}{
      let begin = (group - u.from${n}) * u.span;
      let end = min(u.size${n}, begin + u.span);
      ${body(n)}
    }`
  })
  return `@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) tid: u32) {
  let group = wid.y * groups.x + wid.x;
  if (group < u.groups) { ${cases.join(' else ')} }
}`
}

/** tanh that stays finite for any finite input (drivers compute it from exp). */
export const SAFE_TANH = `fn safe_tanh(x: f32) -> f32 { return tanh(clamp(x, -15.0, 15.0)); }`
