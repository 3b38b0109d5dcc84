// A run whose model or parameters were changed, beside what is recorded: the reader's number and ours in one row.
import { join } from "node:path";
import { type LabRecord, readRecord, type RecordValue } from "./record.ts";
import { type Table, table, type TableValue } from "./table.ts";

/** More rows than one looks through; the rest stays in the side file. */
const MOST_ROWS = 40;

/** Lists by their mean, as long as they hold numbers; what cannot stand in a cell by null. */
function cell(value: RecordValue | undefined): TableValue {
  if (value === undefined) return null;
  if (typeof value !== "object") return value;
  const numbers = value.filter((v) => typeof v === "number");
  return numbers.length > 0 && numbers.length === value.length
    ? numbers.reduce((a, b) => a + b, 0) / numbers.length
    : null;
}

/**
 * The stored records of a notebook, one a model, in the order of their file names.
 *
 * @param folder of the stored records.
 * @throws LabError as readRecord.
 */
export async function storedRecords(name: string, folder: string): Promise<LabRecord[]> {
  const files = await Array.fromAsync(Deno.readDir(folder), (e) => e.name).catch(() => []);
  const own = files.filter((f) => f.startsWith(`${name}.`) && f.endsWith(".json")).sort();
  return (await Promise.all(own.map((f) => readRecord(join(folder, f))))).filter((r) => r !== null);
}

/**
 * Fresh numbers beside stored ones.
 *
 * @param fresh a record just made. @param stored records of the same notebook.
 * @returns null where a stored record is of the same model and parameters (`deno task notebooks` compares those), or there is none.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { exact, type LabRecord } from "./record.ts";
 * import { sideBySide } from "./side_by_side.ts";
 * const run = (bits: number, ppl: number) =>
 *   ({ name: "03", model: "fixture", parameters: { bits }, numbers: { ppl: exact(ppl) } }) as unknown as LabRecord;
 * assert.deepEqual(sideBySide(run(4, 36), [run(3, 40)])?.rows, [["ppl", 36, 40]]);
 * assert.equal(sideBySide(run(3, 40), [run(3, 40)]), null);
 * ```
 */
export function sideBySide(
  fresh: Pick<LabRecord, "model" | "parameters" | "numbers">,
  stored: readonly LabRecord[],
): Table | null {
  const same = stored.some((r) => r.model === fresh.model && sameValues(r.parameters, fresh.parameters));
  if (same || stored.length === 0) return null;
  const names = Object.keys(fresh.numbers).filter((key) => cell(fresh.numbers[key].value) !== null);
  const common = names.filter((key) => stored.some((r) => r.numbers[key])),
    own = names.filter((key) => !common.includes(key));
  const changed = Object.keys(fresh.parameters).flatMap((key) => {
    const here = fresh.parameters[key], there = stored.find((r) => r.model === fresh.model)?.parameters[key];
    return there === undefined || here === there ? [] : [`${key} ${here} (recorded: ${there})`];
  });
  return table(
    ["number", "this run", ...stored.map((r) => `recorded, ${r.model}`)],
    [...common, ...own].slice(0, MOST_ROWS).map((key) => [
      key,
      cell(fresh.numbers[key].value),
      ...stored.map((r) => cell(r.numbers[key]?.value)),
    ]),
    [`This run: ${fresh.model}`, ...changed].join(", ") + "." +
      (names.length > MOST_ROWS ? ` ${names.length - MOST_ROWS} more numbers are in the side file.` : ""),
  );
}

const sameValues = (a: LabRecord["parameters"], b: LabRecord["parameters"]) =>
  Object.keys({ ...a, ...b }).every((key) => JSON.stringify(a[key]) === JSON.stringify(b[key]));
