// HTML that a cell put out, cut down to a list of harmless tags: a page is passed on, and a tensor's name may hold anything.
import { escapeHtml } from "./format.ts";

const TAGS = new Set(
  "a b blockquote br caption code div em h3 h4 h5 hr i li ol p pre progress s small span strong sub sup table tbody td tfoot th thead tr ul"
    .split(" "),
);
const EMPTY = new Set(["br", "hr"]);

/** Attributes kept, with what their values must look like. */
const ATTRIBUTES: Record<string, RegExp> = {
  style: /^text-align: ?(left|right|center);?$/,
  colspan: /^\d{1,3}$/,
  rowspan: /^\d{1,3}$/,
  max: /^[\d.]+$/,
  value: /^[\d.]+$/,
  href: /^(https?:\/\/|#)[^\s"'<>]*$/,
};

/**
 * Keeps the tags and attributes on our list, shows every other tag as text and closes what was left open.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { cleanHtml } from "./page_html.ts";
 * assert.equal(cleanHtml("<b onclick='x()'>1 < 2<script>x()</script>"), "<b>1 &lt; 2&lt;script&gt;x()&lt;/script&gt;</b>");
 * ```
 */
export function cleanHtml(html: string): string {
  const tag = /<(\/?)([a-zA-Z][a-zA-Z0-9]*)((?:\s+[^<>]*)?)\/?>/g, open: string[] = [];
  let out = "", from = 0;
  for (const m of html.matchAll(tag)) {
    out += escapeText(html.slice(from, m.index));
    from = m.index + m[0].length;
    const name = m[2].toLowerCase();
    if (!TAGS.has(name)) out += escapeHtml(m[0]);
    else if (m[1] === "") {
      out += `<${name}${cleanAttributes(m[3])}>`;
      if (!EMPTY.has(name)) open.push(name);
    } else if (open.includes(name)) {
      while (open.length > 0) {
        const last = open.pop()!;
        out += `</${last}>`;
        if (last === name) break;
      }
    }
  }
  out += escapeText(html.slice(from));
  return out + open.reverse().map((name) => `</${name}>`).join("");
}

function cleanAttributes(text: string): string {
  let out = "";
  for (const m of text.matchAll(/([a-zA-Z-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g)) {
    const name = m[1].toLowerCase(), value = m[2] ?? m[3];
    if (ATTRIBUTES[name]?.test(value)) out += ` ${name}="${escapeText(value)}"`;
  }
  return out;
}

/** Like `escapeHtml`, but entities that are already there stay what they are. */
function escapeText(text: string): string {
  return text.replace(/&(?!(?:[a-zA-Z]+|#\d+|#x[0-9a-fA-F]+);)/g, "&amp;").replaceAll("<", "&lt;").replaceAll(
    ">",
    "&gt;",
  )
    .replaceAll('"', "&quot;");
}
