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
 * @param rows one value a column; numbers get four significant digits or more, hand in text where you want others.
 * @throws RangeError when a row has not one value a column.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { table, tableText } from "./table.ts";
 * const t = table(["method", "ppl"], [["RTN", 541.02], ["OWQ", 94.63]]);
 * assert.equal(tableText(t).split("\n")[2], "RTN     541.02");
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

/** "35.3", "−2 %", "38.12 ± 0.31": text that is a number. */
const numberText = /^[+\-−]?\d[\d.,]*( ?%)?( ± [\d.]+)?$/;

/** A column of numbers stands to the right, so that digits align; text stands to the left. */
const isNumeric = (t: Table, column: number): boolean =>
  t.rows.some((r) => r[column] !== null) &&
  t.rows.every(({ [column]: v }) =>
    v === null || typeof v === "number" || (typeof v === "string" && numberText.test(v))
  );

/** Where a column's numbers differ more than this, no number of decimals suits both ends. */
const alignedRange = 30;

/**
 * How a column's numbers are written: with as many decimals as give the least of them four digits, so that points stand below
 * each other; each by itself where they are whole, or of very different sizes.
 */
function numberWriter(t: Table, column: number): (v: number) => string {
  const sizes = t.rows.flatMap(({ [column]: v }) =>
    typeof v === "number" && Number.isFinite(v) && v !== 0 ? [Math.abs(v)] : []
  );
  const most = Math.max(...sizes), least = Math.min(...sizes);
  if (!(least >= 1e-3 && most < 1e5 && most <= alignedRange * least) || sizes.every(Number.isInteger)) {
    return formatNumber;
  }
  const own = sizes.map((v) => formatNumber(v).split(".")[1]?.length ?? 0); // 0.01 beside 0.003 needs no six
  const decimals = Math.min(Math.max(0, 3 - Math.floor(Math.log10(least))), Math.max(...own));
  return (v) => Number.isFinite(v) ? v.toFixed(decimals) : formatNumber(v);
}

/** All cells of a table as text. */
function cellTexts(t: Table): string[][] {
  const writers = t.columns.map((_, c) => numberWriter(t, c));
  return t.rows.map((r) =>
    r.map((v, c) =>
      v === null ? "–" : typeof v === "number" ? writers[c](v) : typeof v === "boolean" ? (v ? "yes" : "no") : v
    )
  );
}

/** A table as aligned lines of text, without the caption. */
export function tableText(t: Table): string {
  const cells = [t.columns, ...cellTexts(t)];
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
  const rows = cellTexts(t).map((r) =>
    `<tr>${r.map((v, c) => cell("td", v.replaceAll(" ± ", "\u00a0±\u00a0"), c)).join("")}</tr>`
  );
  return `<table><thead><tr>${head}</tr></thead>\n<tbody>\n${rows.join("\n")}\n</tbody></table>`;
}
