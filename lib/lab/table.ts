// Tables: one description, shown as HTML in a notebook and as aligned text in a terminal.
import { escapeHtml, formatNumber } from "./format.ts";

/** What a cell of a table may hold; null is shown as a dash. */
export type TableValue = string | number | boolean | null;

/** A table ready to be shown. */
export interface Table {
  readonly kind: "table";
  readonly columns: readonly string[];
  readonly rows: readonly (readonly TableValue[])[];
  readonly caption: string;
}

/**
 * Makes a table.
 *
 * @param columns their headings, units included: "perplexity", "time (s)".
 * @param rows one value a column; numbers get four significant digits, hand in text where you want others.
 * @throws RangeError when a row has not one value a column.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { table, tableText } from "./table.ts";
 * const t = table(["method", "ppl"], [["RTN", 541.02], ["OWQ", 94.63]]);
 * assert.equal(tableText(t).split("\n")[2], "RTN       541");
 * ```
 */
export function table(
  columns: readonly string[],
  rows: readonly (readonly TableValue[])[],
  caption = "",
): Table {
  rows.forEach((r, i) => {
    if (r.length !== columns.length) {
      throw new RangeError(`table row ${i} has ${r.length} values for ${columns.length} columns`);
    }
  });
  return { kind: "table", columns, rows, caption };
}

const cellText = (v: TableValue): string =>
  v === null ? "–" : typeof v === "number" ? formatNumber(v) : typeof v === "boolean" ? (v ? "yes" : "no") : v;

/** A column of numbers stands to the right, so that digits align; text stands to the left. */
const isNumeric = (t: Table, column: number): boolean =>
  t.rows.length > 0 && t.rows.every((r) => r[column] === null || typeof r[column] === "number");

/** A table as aligned lines of text, without the caption. */
export function tableText(t: Table): string {
  const cells = [t.columns, ...t.rows.map((r) => r.map(cellText))];
  const width = t.columns.map((_, c) => Math.max(...cells.map((r) => r[c].length)));
  const lines = cells.map((r) =>
    r.map((v, c) => isNumeric(t, c) ? v.padStart(width[c]) : v.padEnd(width[c])).join("  ").trimEnd()
  );
  lines.splice(1, 0, width.map((w) => "-".repeat(w)).join("  "));
  return lines.join("\n");
}

/** A table as HTML, without the caption; every text is escaped. */
export function tableHtml(t: Table): string {
  const cell = (tag: string, text: string, c: number) =>
    `<${tag} style="text-align:${isNumeric(t, c) ? "right" : "left"}">${escapeHtml(text)}</${tag}>`;
  const head = t.columns.map((text, c) => cell("th", text, c)).join("");
  const body = t.rows.map((r) => `<tr>${r.map((v, c) => cell("td", cellText(v), c)).join("")}</tr>`).join("\n");
  return `<table><thead><tr>${head}</tr></thead>\n<tbody>\n${body}\n</tbody></table>`;
}
