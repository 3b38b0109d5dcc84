// What a method is: words that describe it, defaults, and one function from a layer to its quantized form.
import { LabError } from "../io/errors.ts";
import type { QuantContext } from "../quant/context.ts";
import { storageOf, type StoredBits } from "../quant/budget.ts";
import type { AnyLayer, LayerProblem } from "../quant/layer.ts";

/** An option's value as it stands in a recipe. */
export type OptionValue = number | string | boolean;
/** Options by name. */
export type Options = Readonly<Record<string, OptionValue>>;

/** The shape of a linear, (out, in). */
export interface LinearShape {
  readonly rows: number;
  readonly cols: number;
}

/** One setting of a method's knobs. */
export interface Setting {
  /** Bits of a code. */
  readonly bits: number;
  readonly options: Options;
  /** Columns kept in 16 bits, where they are the knob. */
  readonly weakColumns?: number;
}

/** One method of quantization: a row of the table in table.ts. */
export interface Method {
  /** As in `--method NAME`. */
  readonly name: string;
  /** One line for people. */
  readonly title: string;
  /** What it stores a weight, as a formula. */
  readonly storage: string;
  /** Paper or URL. */
  readonly source: string;
  /** What a run must provide. */
  readonly needs: {
    /** H, the second moment of each linear's inputs. */
    readonly hessian: boolean;
    /** X, a sample of the inputs themselves. */
    readonly inputs?: boolean;
    /** |∂L/∂W| on the first `samples` windows (an option of the method). */
    readonly gradient?: boolean;
  };
  /** Whether it keeps weak columns, and so takes targets between whole bits. */
  readonly weakColumns: boolean;
  /**
   * All options with their defaults, but for `bits`, which comes from the target. Where `candidates` solves an option, 0
   * means that it is solved.
   */
  readonly defaults: Options;
  /**
   * What one linear stores under complete options, known before any work: exactly, or the most it may where `storedExactly`
   * is false, because the data decide.
   */
  stored(shape: LinearShape, options: Options, bits: number, weakColumns: number): StoredBits;
  readonly storedExactly?: boolean;
  /** A target means nominal bits, as in the papers, unless the run says otherwise (rtn, optq, owq). */
  readonly nominal?: boolean;
  /**
   * Settings of the knobs in the order in which they are preferred; the first that stores no more than the target is
   * taken (fit.ts). What the user set is kept.
   */
  candidates(shape: LinearShape, options: Options, target: number): Iterable<Setting>;
  /** The values an option may take where they are few. */
  readonly choices: Readonly<Record<string, readonly OptionValue[]>>;
  /**
   * Quantizes one layer.
   * @param problem W (out, in), H (in, in) where needed. @param options defaults with what the user set.
   * @param bits bits of a code. @param weakColumns how many columns stay in 16 bits (0 where the method has none).
   */
  quantizeLayer(
    problem: LayerProblem,
    options: Options,
    bits: number,
    weakColumns: number,
    context: QuantContext,
  ): Promise<AnyLayer>;
}

/** What a run of a method with these options must provide: weak columns need H whatever the method. */
export function needsOf(
  method: Method,
  o: Options,
): Readonly<Record<"hessian" | "inputs" | "gradient" | "text", boolean>> {
  const hessian = method.needs.hessian || Number(o.weak ?? 0) > 0, inputs = method.needs.inputs === true;
  const gradient = method.needs.gradient === true;
  return { hessian, inputs, gradient, text: hessian || inputs || gradient };
}

/** What codes on one grid with weak columns store: `stored` of RTN, OPTQ and OWQ. */
export function gridStorage(shape: LinearShape, o: Options, bits: number, weakColumns: number): StoredBits {
  const groupSize = Number(o.groupSize), scaleBits = Number(o.scaleBits);
  return storageOf({
    ...shape,
    bits,
    groupSize,
    weak: weakColumns,
    scaleBits,
    groupMap: o.actOrder === true && o.staticGroups !== true && groupSize > 0,
  });
}

/**
 * Merges what a user set into a method's defaults.
 *
 * @param method the method. @param set `key → text` of `--set key=value`, or ready values of a recipe.
 * @returns all options of the method, each of its default's type.
 * @throws LabError on an unknown key or a value of another type or outside the choices.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { readOptions } from "./method.ts";
 * import { METHODS } from "./table.ts";
 * assert.equal(readOptions(METHODS.get("owq")!, { damp: "0.1" }).damp, 0.1);
 * assert.throws(() => readOptions(METHODS.get("owq")!, { dump: "1" }), /dump/);
 * ```
 */
export function readOptions(method: Method, set: Readonly<Record<string, OptionValue>>): Options {
  const options: Record<string, OptionValue> = { ...method.defaults };
  for (const [key, value] of Object.entries(set)) {
    if (!(key in options)) {
      const known = Object.keys(options).join(", ");
      throw new LabError("input", `--set ${key}`, `${method.name} has no such option`, `It has ${known || "none"}.`);
    }
    options[key] = readValue(method, key, value);
  }
  return options;
}

function readValue(method: Method, key: string, value: OptionValue): OptionValue {
  const kind = typeof method.defaults[key],
    refuse = (what: string) => {
      throw new LabError("input", `--set ${key}`, `"${value}" is not ${what}`);
    };
  let read: OptionValue = value;
  if (kind === "number") {
    read = typeof value === "number" ? value : value === "" ? NaN : Number(value);
    if (typeof value === "boolean" || !Number.isFinite(read)) refuse("a number");
  } else if (kind === "boolean") {
    if (value === "true" || value === true) read = true;
    else if (value === "false" || value === false) read = false;
    else refuse("true or false");
  } else read = String(value);
  const choices = method.choices[key];
  if (choices && !choices.includes(read)) refuse(`one of ${choices.join(", ")}`);
  return read;
}
