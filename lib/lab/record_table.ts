// A record as a table for people. Names of the form "OWQ 3.01/perplexity" say row and column.
import { formatNumber } from "./format.ts";
import type { LabRecord } from "./record.ts";
import { type Table, table, type TableValue } from "./table.ts";

/**
 * The table inside a record: one row for each part before the slash, one column for each part after it.
 *
 * @returns null when no number has a slash in its name.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { exact, type LabRecord, relative } from "./record.ts";
 * import { recordTable } from "./record_table.ts";
 * const numbers = { "RTN 3/perplexity": relative(541.02), "OWQ 3.01/perplexity": relative(94.63), layers: exact(28) };
 * const t = recordTable({ numbers } as unknown as LabRecord);
 * assert.deepEqual(t?.rows, [["RTN 3", 541.02], ["OWQ 3.01", 94.63]]);
 * ```
 */
export function recordTable(r: LabRecord): Table | null {
  const rows = new Map<string, Map<string, TableValue>>(), columns = new Map<string, string>();
  for (const [name, n] of Object.entries(r.numbers)) {
    const slash = name.indexOf("/");
    if (slash < 0) continue;
    const row = name.slice(0, slash), column = name.slice(slash + 1);
    columns.set(column, n.unit && n.unit !== column ? `${column} (${n.unit})` : column);
    const value: TableValue = typeof n.value === "object" ? n.value.map((v) => shown(v)).join(" ") : n.value;
    rows.set(row, (rows.get(row) ?? new Map()).set(column, value));
  }
  if (rows.size === 0) return null;
  const names = [...columns.keys()];
  return table(
    [r.name, ...columns.values()],
    [...rows].map(([row, values]) => [row, ...names.map((c) => values.get(c) ?? null)]),
  );
}

const shown = (v: string | number) => typeof v === "number" ? formatNumber(v) : v;
