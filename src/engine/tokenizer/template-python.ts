/**
 * Values of the Jinja library as Python would print them; the library itself writes JSON. Refuses to evaluate anything.
 */

/** A value of the library, as far as it is looked at. */
interface TemplateValue {
  type: string
  value: unknown
  toString(): string
}

/** str(): what `{{ value }}` and `~` write. */
export function pythonText(value: TemplateValue): string {
  switch (value.type) {
    case 'UndefinedValue':
      return ''
    case 'NullValue':
      return 'None'
    case 'BooleanValue':
      return value.value ? 'True' : 'False'
    case 'ArrayValue':
      return `[${(value.value as TemplateValue[]).map(pythonRepr).join(', ')}]`
    case 'TupleValue': {
      const items = (value.value as TemplateValue[]).map(pythonRepr)
      return items.length === 1 ? `(${items[0]},)` : `(${items.join(', ')})`
    }
    case 'ObjectValue': {
      const entries = [...(value.value as Map<string, TemplateValue>)]
      return `{${entries.map(([key, item]) => `${quote(key)}: ${pythonRepr(item)}`).join(', ')}}`
    }
    default:
      return value.toString()
  }
}

/** repr(): how a value stands inside a list or a dictionary. */
function pythonRepr(value: TemplateValue): string {
  return value.type === 'StringValue' ? quote(value.value as string) : pythonText(value)
}

const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** A string literal as Python writes it: single quotes, unless only those are inside. */
function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'"
  const body = text.replace(
    /[\\\n\r\t\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu,
    (char) => ESCAPES[char] ?? escape(char),
  )
  return mark + (mark === "'" ? body.replaceAll("'", "\\'") : body) + mark
}

function escape(char: string): string {
  const code = char.codePointAt(0)!
  const hex = (width: number) => code.toString(16).padStart(width, '0')
  return code < 0x100 ? `\\x${hex(2)}` : code < 0x10000 ? `\\u${hex(4)}` : `\\U${hex(8)}`
}
