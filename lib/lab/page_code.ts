// Light colouring of TypeScript for pages: comments, texts, numbers and keywords. A reading aid, not a parser.
import { escapeHtml } from "./format.ts";

const KEYWORDS =
  "as async await break case catch class const continue default delete do else export extends false finally for from function if import in instanceof interface let new null of return satisfies static switch this throw true try type typeof undefined var void while yield";

const TOKENS = new RegExp(
  [
    String.raw`(?<c>\/\/[^\n]*|\/\*[\s\S]*?\*\/)`,
    String.raw`(?<s>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|${"`"}(?:\\.|[^\\${"`"}])*${"`"})`,
    String.raw`(?<n>\b(?:0x[\da-f]+|\d[\d_]*(?:\.\d+)?(?:e[+-]?\d+)?)\b)`,
    String.raw`(?<k>\b(?:${KEYWORDS.replaceAll(" ", "|")})\b)`,
  ].join("|"),
  "gi",
);

/**
 * TypeScript as HTML with `<span class>` of k (keyword), s (text), c (comment) and n (number); everything is escaped.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { colourCode } from "./page_code.ts";
 * assert.equal(colourCode("x < 3"), `x &lt; <span class="n">3</span>`);
 * ```
 */
export function colourCode(source: string): string {
  let out = "", from = 0;
  for (const m of source.matchAll(TOKENS)) {
    const kind = Object.entries(m.groups ?? {}).find(([, text]) => text !== undefined)?.[0];
    if (kind === "k" && m[0] !== m[0].toLowerCase()) continue; // the flag that serves 1E3 must not colour `New`
    out += `${escapeHtml(source.slice(from, m.index))}<span class="${kind}">${escapeHtml(m[0])}</span>`;
    from = m.index + m[0].length;
  }
  return out + escapeHtml(source.slice(from));
}
