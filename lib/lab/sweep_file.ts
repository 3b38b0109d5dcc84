// A grid of experiments as a small JSON file that another machine can run: a base recipe, cases, and lists of values to cross.
import { LabError } from "../io/errors.ts";
import { checkLinearBits } from "./linear_bits.ts";
import { makeRecipe, type Recipe, type RecipeInput } from "./recipe.ts";

/** One experiment of a sweep. */
export interface Cell {
  /** From 1, in the file's order. */
  readonly cell: number;
  /** For people: the case's label and every value that was crossed. */
  readonly label: string;
  readonly recipe: Recipe;
}

/** A sweep, checked. */
export interface Sweep {
  readonly name: string;
  /** What it is for, in a sentence; may be empty. */
  readonly about: string;
  readonly cells: readonly Cell[];
}

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
type Fields = Readonly<Record<string, Json>>;

const NUMBERS = new Set(["bits", "rank", "injected", "seed"]), NULLABLE = new Set(["rank", "layers", "weakLayers"]);
const TEXTS = new Set(["model", "method", "layers", "weakLayers", "budget"]);
const NESTED = { options: null, calibration: ["text", "samples", "seqLen"], evaluation: ["text", "samples", "seqLen"] };
const KNOWN = [...NUMBERS, ...TEXTS, "trueSequential", "linearBits", ...Object.keys(NESTED)];

/**
 * Reads a sweep: each case (one empty case where there are none) over the base, crossed with every combination of the
 * lists in `cross`, the last list turning fastest.
 *
 *     { "name": "columns", "about": "…", "base": { "model": "smollm2", "method": "owq", "calibration": {"text": "moby-dick"} },
 *       "cases": [{ "label": "by H", "options": {"rule": "hessian"} }], "cross": { "bits": [3.01, 3.1], "seed": [0, 1] } }
 *
 * Fields are those of a recipe (recipe.ts); those of `options`, `calibration` and `evaluation` may be crossed by their path,
 * such as "options.rule" or "evaluation.text". Options of the base reach cases of its own method only. What a text leaves out
 * is as on the command line: 32 windows of 512 tokens, 256 for the embedded model.
 *
 * @param text JSON. @param file its name, for messages.
 * @returns cells in order; no two of them the same experiment.
 * @throws LabError "input" that names the field, such as `sweep.json: cases[2].options.rule`.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { readSweep } from "./sweep_file.ts";
 * const sweep = readSweep('{"name": "bits", "base": {"method": "rtn"}, "cross": {"bits": [3, 4], "seed": [0, 1]}}', "s.json");
 * assert.deepEqual(sweep.cells.map((c) => c.label), ["RTN 3, seed 0", "RTN 3, seed 1", "RTN 4, seed 0", "RTN 4, seed 1"]);
 * assert.throws(() => readSweep('{"name": "x", "base": {"bitz": 3}}', "s.json"), /s\.json: base\.bitz/);
 * ```
 */
export function readSweep(text: string, file: string): Sweep {
  const top = fields(parse(text, file), file, ["name", "about", "base", "cases", "cross"]);
  const name = top.name;
  if (typeof name !== "string" || !/^[\w-]+$/.test(name)) {
    throw wrong(`${file}: name`, top.name, "a name of letters, digits and hyphens");
  }
  const base = checked(top.base ?? {}, `${file}: base`);
  const cases = list(top.cases ?? [{}], `${file}: cases`), cells: Cell[] = [];
  const cross = Object.entries(fields(top.cross ?? {}, `${file}: cross`, null))
    .map(([path, values]) => [path, list(values, `${file}: cross.${path}`)] as const);
  cases.forEach((value, i) => {
    const place = `${file}: cases[${i}]`, { label, ...own } = checked(value, place, ["label"]);
    if (label !== undefined && typeof label !== "string") throw wrong(`${place}.label`, label, "a text");
    for (const chosen of combinations(cross)) {
      let all = merged(base, own);
      for (const [path, v] of chosen) {
        const where = `${file}: cross.${path}`;
        all = merged(all, checked(nested(path, v), where));
      }
      cells.push(makeCell(all, label ?? null, chosen, cells.length + 1, place));
    }
  });
  sameTwice(cells, file);
  return { name, about: typeof top.about === "string" ? top.about : "", cells };
}

function makeCell(all: Fields, label: string | null, chosen: Chosen, cell: number, place: string): Cell {
  try {
    const seqLen = (all.model ?? "fixture") === "fixture" ? 256 : 512, input = all as RecipeInput;
    const recipe = makeRecipe({
      ...input,
      calibration: { text: "moby-dick", samples: 32, seqLen, ...input.calibration },
      evaluation: { text: "sotu", samples: 32, seqLen, ...input.evaluation },
    });
    const own = label ?? `${recipe.method.toUpperCase()} ${recipe.bits}`;
    const said = chosen.filter(([path]) => label !== null || !["method", "bits"].includes(path));
    const values = said.map(([path, v]) => `${path.replace(/^options\./, "")} ${typeof v === "object" ? j(v) : v}`);
    return { cell, label: [own, ...values].join(", "), recipe };
  } catch (e) {
    if (!(e instanceof LabError)) throw e;
    throw new LabError(e.kind, `${place} (cell ${cell}): ${e.thing}`, e.problem, e.hint, { cause: e });
  }
}

const j = (v: unknown) => JSON.stringify(v);

function wrong(place: string, value: unknown, what: string): LabError {
  return new LabError("input", place, `${j(value) ?? "nothing"} is not ${what}`);
}

function parse(text: string, file: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch (cause) {
    throw new LabError("format", file, `is no JSON (${(cause as Error).message})`, "", { cause });
  }
}

function list(value: Json, place: string): readonly Json[] {
  if (Array.isArray(value) && value.length > 0) return value;
  throw wrong(place, value, "a list of one value or more");
}

function fields(value: Json, place: string, known: readonly string[] | null): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(place, value, "an object");
  for (const key of Object.keys(value)) {
    if (known && !known.includes(key)) {
      const dot = place.includes(": ") ? "." : ": ";
      throw new LabError("input", `${place}${dot}${key}`, "there is no such field", `There are ${known.join(", ")}.`);
    }
  }
  return value as Fields;
}

/** A piece of a recipe, each field of its type; what values they may have is makeRecipe's business. */
function checked(value: Json, place: string, more: readonly string[] = []): Fields {
  const all = fields(value, place, [...KNOWN, ...more]);
  for (const [key, v] of Object.entries(all)) {
    const at = place.includes("cross.") ? place : `${place}.${key}`;
    if (v === null && NULLABLE.has(key)) continue;
    if (NUMBERS.has(key) && (typeof v !== "number" || !Number.isFinite(v))) throw wrong(at, v, "a number");
    if (TEXTS.has(key) && typeof v !== "string") throw wrong(at, v, "a text");
    if (key === "budget" && v !== "nominal" && v !== "stored") throw wrong(at, v, "nominal or stored");
    if (key === "trueSequential" && typeof v !== "boolean") throw wrong(at, v, "true or false");
    if (key === "linearBits") checkLinearBits(v, at);
    if (!(key in NESTED)) continue;
    const inner = fields(v, at, NESTED[key as keyof typeof NESTED]);
    for (const [k, x] of Object.entries(inner)) {
      const where = place.includes("cross.") ? at : `${at}.${k}`;
      if (key === "options" ? typeof x === "object" : k === "text" ? typeof x !== "string" : !Number.isInteger(x)) {
        throw wrong(
          where,
          x,
          key === "options" ? "a number, a text, true or false" : k === "text" ? "a text" : "a whole number",
        );
      }
    }
  }
  return all;
}

/** b over a, field by field; options of another method than a's are not taken over. */
function merged(a: Fields, b: Fields): Fields {
  const out: Record<string, Json> = { ...a, ...b }, other = b.method !== undefined && b.method !== (a.method ?? "owq");
  for (const key of Object.keys(NESTED)) {
    if (a[key] === undefined && b[key] === undefined) continue;
    out[key] = { ...(key === "options" && other ? {} : a[key] as Fields), ...(b[key] as Fields) };
  }
  return out;
}

function nested(path: string, value: Json): Fields {
  const [first, ...rest] = path.split(".");
  return { [first]: rest.length === 0 ? value : nested(rest.join("."), value) };
}

type Chosen = readonly (readonly [path: string, value: Json])[];

function combinations(cross: readonly (readonly [string, readonly Json[]])[]): Chosen[] {
  return cross.reduce<Chosen[]>(
    (all, [path, values]) => all.flatMap((chosen) => values.map((v) => [...chosen, [path, v] as const])),
    [[]],
  );
}

function sameTwice(cells: readonly Cell[], file: string): void {
  const seen = new Map<string, Cell>();
  for (const c of cells) {
    const key = JSON.stringify(c.recipe), first = seen.get(key);
    if (first) {
      throw new LabError(
        "input",
        `${file}: cell ${c.cell}`,
        `"${c.label}" is the same experiment as cell ${first.cell}`,
      );
    }
    seen.set(key, c);
  }
}
