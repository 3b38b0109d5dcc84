// A run's numbers as a file beside it. Notebooks are compared by these, never by their outputs; each number says how exactly it
// has to come again.
import { join } from "node:path";
import { atomicWriteText } from "../io/atomic.ts";
import { LabError } from "../io/errors.ts";
import { formatNumber } from "./format.ts";
import { runProcess } from "./process.ts";
import { labPaths } from "./paths.ts";

/** How closely a number must come again: in every digit, within a share of its size, or not at all (it measures time). */
export type Tolerance = "exact" | "timing" | { readonly relative: number };

/** What a record may hold. */
export type RecordValue = number | string | boolean | readonly number[] | readonly string[];

/** One entry of a record. */
export interface RecordedNumber {
  readonly value: RecordValue;
  readonly tolerance: Tolerance;
  readonly unit?: string;
}

/** Where a record's numbers come from. */
export interface Provenance {
  readonly deno: string;
  readonly system: string;
  readonly commit: string;
  readonly date: string;
  /** What the run adds: adapter, sha256 of model and texts, recipe, seed. */
  readonly [more: string]: unknown;
}

/** A notebook's side file. */
export interface LabRecord {
  readonly format: 1;
  readonly name: string;
  /** The SPEC the notebook ran on. */
  readonly model: string;
  /** The notebook's parameters; only runs with equal ones can be compared. */
  readonly parameters: Readonly<Record<string, RecordValue>>;
  readonly numbers: Readonly<Record<string, RecordedNumber>>;
  readonly provenance: Provenance;
}

/**
 * A number that must come again in every digit: codes, counts, indices, names.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { exact } from "./record.ts";
 * assert.equal(exact([3, 7]).tolerance, "exact");
 * ```
 */
export function exact(value: RecordValue, unit?: string): RecordedNumber {
  return { value, tolerance: "exact", ...(unit === undefined ? {} : { unit }) };
}

/**
 * A number that must come again within `tolerance · |stored|`; 1e-3 is the lab's figure for perplexity across devices.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { relative } from "./record.ts";
 * assert.deepEqual(relative(94.63, 1e-3, "perplexity").tolerance, { relative: 1e-3 });
 * ```
 */
export function relative(value: number | readonly number[], tolerance = 1e-3, unit?: string): RecordedNumber {
  return { value, tolerance: { relative: tolerance }, ...(unit === undefined ? {} : { unit }) };
}

/**
 * A time or a speed: kept for readers, never compared.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { timing } from "./record.ts";
 * assert.equal(timing(3.2).unit, "s");
 * ```
 */
export function timing(value: number, unit = "s"): RecordedNumber {
  return { value, tolerance: "timing", unit };
}

/**
 * A record's file name: one a notebook and model.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { recordFile } from "./record.ts";
 * assert.equal(recordFile("03-owq", "hf:owner/name@main"), "03-owq.hf-owner-name-main.json");
 * ```
 */
export function recordFile(name: string, model: string): string {
  return `${name}.${model.replace(/[^A-Za-z0-9._]+/g, "-")}.json`;
}

/** The folder of fresh records: what the runner of notebooks says, else out/records. */
export function recordFolder(): string {
  return Deno.env.get("OWQ_RECORDS") ?? join(labPaths().out, "records");
}

/**
 * Writes a record whole or not at all.
 *
 * @param name the notebook's: the file is `NAME.MODEL.json`.
 * @param numbers by name; NaN and infinity are refused, JSON would silently make them null.
 * @param o.provenance what the numbers come from, beside what every record says of itself.
 * @returns the record as written.
 * @throws LabError "numeric" for a number that is not finite, "storage" when the folder cannot be written.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { exact, record } from "./record.ts";
 * const folder = await Deno.makeTempDir();
 * const r = await record("00-tour", { columns: exact(12) }, { model: "fixture", folder });
 * assert.equal(JSON.parse(await Deno.readTextFile(`${folder}/00-tour.fixture.json`)).numbers.columns.value, 12);
 * assert.equal(r.provenance.deno, Deno.version.deno);
 * await Deno.remove(folder, { recursive: true });
 * ```
 */
export async function record(
  name: string,
  numbers: Readonly<Record<string, RecordedNumber>>,
  o: {
    model: string;
    parameters?: Readonly<Record<string, RecordValue>>;
    provenance?: Readonly<Record<string, unknown>>;
    folder?: string;
  },
): Promise<LabRecord> {
  for (const [key, n] of Object.entries(numbers)) {
    const bad = [n.value].flat().findIndex((v) => typeof v === "number" && !Number.isFinite(v));
    if (bad >= 0) {
      throw new LabError("numeric", `record ${name}`, `"${key}" is ${[n.value].flat()[bad]} (element ${bad})`);
    }
  }
  const result: LabRecord = {
    format: 1,
    name,
    model: o.model,
    parameters: o.parameters ?? {},
    numbers,
    provenance: {
      deno: Deno.version.deno,
      system: `${Deno.build.os} ${Deno.build.arch}`,
      commit: await currentCommit(),
      date: new Date().toISOString(),
      ...o.provenance,
    },
  };
  const folder = o.folder ?? recordFolder();
  await Deno.mkdir(folder, { recursive: true });
  await atomicWriteText(join(folder, recordFile(name, o.model)), recordText(result));
  return result;
}

/** A record as JSON with one line a number, so that a diff names what changed. */
export function recordText(r: LabRecord): string {
  const lines = (o: Readonly<Record<string, unknown>>) =>
    Object.entries(o).map(([k, v]) => `    ${JSON.stringify(k)}: ${JSON.stringify(v)}`).join(",\n");
  const part = (name: string, o: Readonly<Record<string, unknown>>) =>
    `  ${JSON.stringify(name)}: {${Object.keys(o).length > 0 ? `\n${lines(o)}\n  ` : ""}}`;
  return [
    "{",
    `  "format": ${r.format},`,
    `  "name": ${JSON.stringify(r.name)},`,
    `  "model": ${JSON.stringify(r.model)},`,
    `${part("parameters", r.parameters)},`,
    `${part("numbers", r.numbers)},`,
    part("provenance", r.provenance),
    "}\n",
  ].join("\n");
}

/** The commit of the clone, "-dirty" where tracked files differ, "unknown" outside git. */
async function currentCommit(): Promise<string> {
  const git = (args: string[]) =>
    runProcess(["git", ...args], { cwd: labPaths().root }).then(
      (r) => r.code === 0 ? r.stdout.trim() : null,
      () => null,
    );
  const commit = await git(["rev-parse", "--short=12", "HEAD"]);
  if (commit === null) return "unknown";
  return await git(["status", "--porcelain", "--untracked-files=no"]) === "" ? commit : `${commit}-dirty`;
}

/**
 * Reads a record.
 *
 * @returns null when there is no such file.
 * @throws LabError "format" when the file is not a record.
 */
export async function readRecord(path: string): Promise<LabRecord | null> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (e) {
    if (e instanceof Deno.errors.NotFound) return null;
    throw e;
  }
  try {
    const r = JSON.parse(text) as LabRecord;
    if (r.format === 1 && typeof r.numbers === "object" && r.numbers !== null) return r;
  } catch { /* said below */ }
  throw new LabError("format", path, "is not a record of format 1", "Write it anew: deno task notebooks --write.");
}

/** One way in which a fresh record differs from the stored one. */
export interface RecordDifference {
  readonly key: string;
  readonly problem: string;
  readonly stored: RecordValue | undefined;
  readonly fresh: RecordValue | undefined;
}

/**
 * Compares a fresh record with the stored one: |fresh − stored| ≤ relative · |stored|, or equality, element by element.
 *
 * @param tolerances by key, instead of those in the fresh record.
 * @returns the differences; none when the run agrees. A number that only one of them has is a difference.
 * @throws LabError "input" when the two ran with different parameters or models.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { compareRecord, type LabRecord, relative } from "./record.ts";
 * const base = { format: 1, name: "n", model: "m", parameters: {}, provenance: {} } as unknown as LabRecord;
 * const stored = { ...base, numbers: { ppl: relative(100, 1e-3) } };
 * const fresh = { ...base, numbers: { ppl: relative(100.2, 1e-3) } };
 * assert.match(compareRecord(stored, fresh)[0].problem, /0.2 %/);
 * assert.equal(compareRecord(stored, fresh, { ppl: { relative: 0.01 } }).length, 0);
 * ```
 */
export function compareRecord(
  stored: LabRecord,
  fresh: LabRecord,
  tolerances: Readonly<Record<string, Tolerance>> = {},
): RecordDifference[] {
  if (stored.model !== fresh.model) {
    throw new LabError("input", `record ${fresh.name}`, `is of ${fresh.model}, the stored one of ${stored.model}`);
  }
  const parameter = differingKey(stored.parameters, fresh.parameters);
  if (parameter !== null) {
    const [a, b] = [stored.parameters[parameter], fresh.parameters[parameter]].map((v) => JSON.stringify(v));
    throw new LabError("input", `record ${fresh.name}`, `its parameter ${parameter} is ${b}, in the stored one ${a}`);
  }
  const differences: RecordDifference[] = [];
  for (const key of new Set([...Object.keys(stored.numbers), ...Object.keys(fresh.numbers)])) {
    const a = stored.numbers[key], b = fresh.numbers[key];
    const problem = a === undefined
      ? "is new"
      : b === undefined
      ? "is missing"
      : valueProblem(a.value, b.value, tolerances[key] ?? b.tolerance);
    if (problem !== null) differences.push({ key, problem, stored: a?.value, fresh: b?.value });
  }
  return differences;
}

function differingKey(a: Readonly<Record<string, unknown>>, b: Readonly<Record<string, unknown>>): string | null {
  const keys = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...keys].find((k) => JSON.stringify(a[k]) !== JSON.stringify(b[k])) ?? null;
}

function valueProblem(stored: RecordValue, fresh: RecordValue, tolerance: Tolerance): string | null {
  if (tolerance === "timing") return null;
  const a = [stored].flat(), b = [fresh].flat();
  if (Array.isArray(stored) !== Array.isArray(fresh) || a.length !== b.length) {
    return `has ${b.length} values, stored are ${a.length}`;
  }
  for (let i = 0; i < a.length; i++) {
    const x = a[i], y = b[i], at = Array.isArray(fresh) ? `element ${i}: ` : "";
    if (tolerance === "exact" || typeof x !== "number" || typeof y !== "number") {
      if (x !== y) return `${at}${JSON.stringify(y)} is not ${JSON.stringify(x)}`;
      continue;
    }
    const off = x === y ? 0 : Math.abs(y - x) / Math.abs(x);
    if (!(off <= tolerance.relative)) {
      const [is, may] = [off, tolerance.relative].map((v) => `${formatNumber(v * 100)} %`);
      return `${at}${formatNumber(y)} is off by ${is} from ${formatNumber(x)}, allowed are ${may}`;
    }
  }
  return null;
}
