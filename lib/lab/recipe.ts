// A recipe: everything that decides what a quantized model will be, as data that is saved beside the result.
import { LabError } from "../io/errors.ts";
import type { LinearInfo } from "../model/config.ts";
import { findMethod } from "../methods/table.ts";
import { fitToTarget } from "../methods/fit.ts";
import { type LinearShape, type Options, readOptions } from "../methods/method.ts";
import { columnsForRank, columnsForTarget, type StoredBits } from "../quant/budget.ts";
import { checkLinearBits, type LinearBits } from "./linear_bits.ts";

/** A text, and how much of it. */
export interface TextRecipe {
  /** TEXT as on the command line: a name, a file, or a safetensors file with input_ids. */
  readonly text: string;
  /** Windows; 0 means all there are. */
  readonly samples: number;
  /** Tokens of a window. */
  readonly seqLen: number;
}

/** One experiment. */
export interface Recipe {
  /** SPEC of the model. */
  readonly model: string;
  /** Factor of outlier channels that are injected without changing the function; 1: the model as it is. Always labelled. */
  readonly injected: number;
  readonly method: string;
  /**
   * Target of bits. For rtn, optq and owq nominal ones, such as 3.01: codes have floor(bits), weak columns take the rest.
   * For all other methods stored ones: no linear keeps more, to the last scale and index.
   */
  readonly bits: number;
  /** "stored": rtn, optq and owq too are held to stored bits, with scales of 16 bits. */
  readonly budget: "nominal" | "stored";
  /** Weak columns of each linear, where they do not come from the target. */
  readonly rank: number | null;
  /** The method's options, complete. */
  readonly options: Options;
  /** Only linears whose name matches are quantized; null: all. A regular expression over "0.self_attn.q_proj". */
  readonly layers: string | null;
  /** Only linears whose name matches get weak columns; null: all. */
  readonly weakLayers: string | null;
  /** Linears of a block one stage after another, each seeing the ones before quantized. */
  readonly trueSequential: boolean;
  /**
   * Bits of single linears' codes, by "0.self_attn.q_proj", in place of the target's whole part; the rest of the target (weak
   * columns, scales) stays as it is. A field that is there only where it was set.
   */
  readonly linearBits?: LinearBits;
  readonly calibration: TextRecipe;
  readonly evaluation: TextRecipe;
  readonly seed: number;
}

/** What may be left out of a recipe; the rest has defaults. */
export type RecipeInput = Partial<Omit<Recipe, "options">> & { readonly options?: Options };

/** Enough of a 512-token window for a small model to be told apart, little enough for a laptop. */
const DEFAULT_TEXT = { samples: 32, seqLen: 512 };

/**
 * A whole recipe from what was given: the method's own defaults, checked options, and texts that suit any model.
 *
 * @throws LabError for an unknown method or option, or a target that the method cannot meet.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { makeRecipe } from "./recipe.ts";
 * const r = makeRecipe({ method: "owq", bits: 3.1, options: { damp: "0.02" } });
 * assert.equal(r.options.damp, 0.02);
 * assert.throws(() => makeRecipe({ method: "rtn", bits: 3.1 }), /whole bits/);
 * ```
 */
export function makeRecipe(input: RecipeInput): Recipe {
  const method = findMethod(input.method ?? "owq"), bits = input.bits ?? 3.1, rank = input.rank ?? null;
  if (!(bits >= 2 && bits < 9)) throw new LabError("input", "bits", `a target of ${bits}`, "Ask for 2 up to 8.99.");
  const budget = input.budget ?? "nominal";
  if (budget === "stored" && rank !== null) {
    throw new LabError("input", "rank", "is what a budget of stored bits decides", "Give one or the other.");
  }
  if (method.nominal && budget === "nominal" && !method.weakColumns && !Number.isInteger(bits)) {
    const hint =
      `Ask for ${Math.floor(bits)} or ${Math.floor(bits) + 1}, take a method with weak columns, such as owq, ` +
      `or count stored bits: --budget stored.`;
    throw new LabError("input", "bits", `${method.name} stores whole bits a code, not ${bits}`, hint);
  }
  if (rank !== null && !method.weakColumns) throw new LabError("input", "rank", `${method.name} keeps no weak columns`);
  const weakLayers = input.weakLayers ?? null;
  if (weakLayers !== null && (budget === "stored" || !method.nominal)) {
    const why = "is not looked at where each linear has a budget of stored bits of its own";
    throw new LabError(
      "input",
      `weak columns of "${weakLayers}" only`,
      why,
      "Take --budget nominal, with a method such as owq.",
    );
  }
  for (const pattern of [input.layers, weakLayers]) if (pattern) checkPattern(pattern);
  return {
    model: input.model ?? "fixture",
    injected: input.injected ?? 1,
    method: method.name,
    bits,
    budget,
    rank,
    options: readOptions(method, input.options ?? {}),
    layers: input.layers ?? null,
    weakLayers,
    trueSequential: input.trueSequential ?? false,
    ...(input.linearBits ? { linearBits: checkLinearBits(input.linearBits, "linearBits") } : {}),
    calibration: input.calibration ?? { text: "moby-dick", ...DEFAULT_TEXT },
    evaluation: input.evaluation ?? { text: "sotu", ...DEFAULT_TEXT },
    seed: input.seed ?? 0,
  };
}

function checkPattern(pattern: string): void {
  try {
    new RegExp(pattern);
  } catch (cause) {
    throw new LabError("input", `pattern "${pattern}"`, (cause as Error).message, "Use a regular expression.", {
      cause,
    });
  }
}

/** What a recipe means for one linear of a block. */
export interface LinearPlan {
  readonly linear: LinearInfo;
  /** "0.self_attn.q_proj" */
  readonly name: string;
  /** False: it stays in float. */
  readonly quantize: boolean;
  readonly bits: number;
  readonly weakColumns: number;
  /** The method's options for this linear: the recipe's, with those in place that a target of stored bits decides. */
  readonly options: Options;
  readonly stored: StoredBits;
}

/**
 * The plan of one block: which of its linears are quantized, and with how many weak columns.
 *
 * @param recipe the recipe. @param block its index. @param linears all its linears, in the model's order.
 * @throws LabError where the target leaves no bits for the codes.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { makeRecipe, planBlock } from "./recipe.ts";
 * const q = { name: "q", out: 512, in: 512, input: "attention", stage: 0, ratio: 1, bias: false };
 * const [plan] = planBlock(makeRecipe({ method: "owq", bits: 3.1 }), 2, [q]);
 * assert.deepEqual([plan.name, plan.bits, plan.weakColumns], ["2.q", 3, 48]);
 * ```
 */
export function planBlock(recipe: Recipe, block: number, linears: readonly LinearInfo[]): LinearPlan[] {
  const method = findMethod(recipe.method), { options } = recipe, name = (l: LinearInfo) => `${block}.${l.name}`;
  const matches = (pattern: string | null, l: LinearInfo) => pattern === null || new RegExp(pattern).test(name(l));
  const quantized = linears.filter((l) => matches(recipe.layers, l));
  const withColumns = quantized.filter((l) => matches(recipe.weakLayers, l));
  const solved = !method.nominal || recipe.budget === "stored", whole = Math.floor(recipe.bits);
  const target = (l: LinearInfo) => {
    const bits = recipe.linearBits?.[name(l)] ?? whole;
    return bits === whole ? recipe.bits : Number((bits + recipe.bits - whole).toFixed(9));
  };
  const columns = (l: LinearInfo) => {
    if (!method.weakColumns || solved || !withColumns.includes(l)) return 0;
    if (recipe.rank !== null) return columnsForRank(withColumns, recipe.rank).get(l.name) ?? 0;
    return columnsForTarget(withColumns, Math.floor(target(l)), target(l)).get(l.name) ?? 0;
  };
  return linears.map((linear) => {
    const shape = { rows: linear.out, cols: linear.in }, weakColumns = columns(linear);
    const common = { linear, name: name(linear), quantize: quantized.includes(linear), weakColumns };
    if (common.quantize && solved) return { ...common, ...fitLinear(recipe, shape, common.name, target(linear)) };
    const bits = Math.floor(target(linear)), stored = method.stored(shape, options, bits, weakColumns);
    return { ...common, bits, options, stored };
  });
}

/** The knobs that a target of stored bits leaves; where a plan names the linear, its codes are as wide as that says. */
function fitLinear(recipe: Recipe, shape: LinearShape, name: string, target: number) {
  const method = findMethod(recipe.method), wanted = recipe.linearBits?.[name];
  const coded = wanted !== undefined && "codeBits" in recipe.options;
  const fitted = fitToTarget(
    method,
    shape,
    { ...recipe.options, ...(coded ? { codeBits: wanted } : {}) },
    target,
    name,
  );
  if (wanted === undefined || fitted.bits === wanted) return fitted;
  const problem = `${wanted} bits a code and what ${method.name} stores beside them do not fit ${target} stored bits`;
  throw new LabError("input", `the linear ${name}`, problem, "Raise what --bits has after the point.");
}

/**
 * Whether bits by linear name this model's linears alone.
 *
 * @param names of all its linears, "0.self_attn.q_proj". @throws LabError "input" that names the first other one.
 */
export function checkLinearNames(bits: LinearBits, names: readonly string[]): void {
  const known = new Set(names), unknown = Object.keys(bits).find((name) => !known.has(name));
  if (unknown === undefined) return;
  throw new LabError(
    "input",
    "linear bits",
    `"${unknown}" is no linear of this model`,
    `Names look like "${names[0]}".`,
  );
}
