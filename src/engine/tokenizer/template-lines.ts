/**
 * Finds the line of a template in which something went wrong; the Jinja library keeps no positions. Refuses to guess: null where tags and
 * nodes do not pair up.
 */
import { tokenize } from '@huggingface/jinja'

/** A `{{ … }}` or `{% … %}` in the source. */
interface Tag {
  line: number
  source: string
}

/** A node of the library's syntax tree, as far as it is walked. */
export interface TemplateNode {
  type: string
  body?: TemplateNode[]
  alternate?: TemplateNode[]
  defaultBlock?: TemplateNode[]
}

/** All tags in order; comments are left out, and closing marks inside strings do not count. */
function tags(source: string): Tag[] {
  const out: Tag[] = []
  const pattern =
    /\{#[^]*?#\}|\{\{(?:"(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*'|[^])*?\}\}|\{%(?:"(?:\\[^]|[^"\\])*"|'(?:\\[^]|[^'\\])*'|[^])*?%\}/g
  let line = 1
  let counted = 0
  for (const found of source.matchAll(pattern)) {
    line += source.slice(counted, found.index).split('\n').length - 1
    counted = found.index
    if (!found[0].startsWith('{#')) out.push({ line, source: found[0] })
  }
  return out
}

/** The line of the first tag that the library cannot read by itself, for errors of its lexer. */
export function lineOfUnreadableTag(source: string): number | null {
  for (const tag of tags(source)) {
    try {
      tokenize(tag.source)
    } catch {
      return tag.line
    }
  }
  return null
}

/** The line of the tag that holds the token with this number, for errors of the library's parser. */
export function lineOfToken(source: string, tokens: readonly { type: string }[], index: number): number | null {
  const opened = tokens
    .slice(0, index + 1)
    .filter((token) => token.type === 'OpenStatement' || token.type === 'OpenExpression').length
  return tags(source)[opened - 1]?.line ?? null
}

/** Which line each node of a parsed template stands in; empty where the tags do not account for the nodes. */
export function linesOfNodes(source: string, program: TemplateNode): Map<TemplateNode, number> {
  const nodes: TemplateNode[] = []
  const walk = (list: readonly TemplateNode[] = []) => {
    for (const node of list) {
      // Plain text and comments are not tags, and a literal cannot fail.
      if (node.type !== 'StringLiteral' && node.type !== 'Comment') nodes.push(node)
      walk(node.body)
      walk(node.alternate)
      walk(node.defaultBlock)
    }
  }
  walk(program.body)
  const opening = tags(source).filter(({ source: tag }) => {
    if (tag.startsWith('{{')) return !/^\{\{-?\s*("(\\[^]|[^"\\])*"|'(\\[^]|[^'\\])*')\s*-?\}\}$/.test(tag)
    return !/^\{%-?\s*(end\w+|else)\b/.test(tag)
  })
  if (opening.length !== nodes.length) return new Map()
  return new Map(nodes.map((node, i) => [node, opening[i]!.line]))
}
