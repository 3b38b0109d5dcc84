// What every method takes and gives: one linear layer with its second moment in, codes and weak columns out.
import type { Floats, Matrix } from "../io/tensor.ts";
import type { Store } from "./store.ts";

/** One linear layer to quantize. */
export interface LayerProblem {
  /** For people and reports, such as "5.self_attn.k_proj". */
  readonly name: string;
  /** W (out, in), the float weights. Never written to. */
  readonly weight: Matrix;
  /** H (in, in) = 2/n · XᵀX over the n calibration samples, undamped; null where a method needs none. Never written to. */
  readonly hessian: Matrix | null;
  /** X (tokens, in), a sample of what the layer reads; only where a method asks for it. Never written to. */
  readonly inputs?: Matrix | null;
  /** |∂L/∂W| (out, in) of the float model's loss; only where a method asks for it. Never written to. */
  readonly gradient?: Matrix | null;
  /** Seed of the methods that draw at random. */
  readonly seed: number;
}

/** How one layer went. */
export interface LayerReport {
  /** tr(D H Dᵀ) with D = Ŵ − W over all columns; NaN without a Hessian. */
  readonly objective: number;
  /** The same of round-to-nearest on the min–max grid at the same bits; NaN without a Hessian. */
  readonly objectiveRtn: number;
  /** The damping share that was used in the end (0 where no factorization was needed). */
  readonly damp: number;
  /** Why the layer is not what was asked for, in words; null when it is. */
  readonly fallback: string | null;
  /** Input columns whose H_jj is 0: nothing ever flowed through them. */
  readonly deadColumns: number;
  /** Seconds by stage, such as {sensitivity, search, factor, sweep}. */
  readonly seconds: Readonly<Record<string, number>>;
}

/**
 * A quantized linear layer. Weak columns are stored apart; their codes equal the zero point, so they dequantize to 0.
 * The value of a stored weight is scale[g] · (code − zero[g]), g its row's group of columns.
 */
export interface QuantizedLayer {
  readonly name: string;
  readonly method: string;
  readonly rows: number; // out
  readonly cols: number; // in
  readonly bits: number;
  /** Columns that share a scale; 0 means one scale a row. */
  readonly groupSize: number;
  /** (out, in), unsigned, 0 … 2^bits − 1. */
  readonly codes: Uint8Array<ArrayBuffer>;
  /** (out, groups), groups = ceil(in / groupSize), or 1. */
  readonly scale: Floats;
  /** (out, groups), integers in 0 … 2^bits − 1 . */
  readonly zero: Floats;
  /** How many bits a stored scale takes; at 16 the scales are exact in f16. */
  readonly scaleBits: 16 | 32;
  /** (in) group of each column where act-order chose it; null where it follows from the order of the columns that get codes. */
  readonly groupOf: Int32Array<ArrayBuffer> | null;
  /** (k), ascending. */
  readonly weakIds: Int32Array<ArrayBuffer>;
  /** (out, k), the compensated 16-bit columns as float32. */
  readonly weak: Floats;
  readonly report: LayerReport;
}

/** A layer that is stored in any other way: a list of stores, taken in order (see store.ts). */
export interface StoredLayer {
  readonly name: string;
  readonly method: string;
  readonly rows: number; // out
  readonly cols: number; // in
  readonly stores: readonly Store[];
  readonly report: LayerReport;
}

/** What a method gives. */
export type AnyLayer = QuantizedLayer | StoredLayer;

/** Ids of the columns that a layer keeps in 16 bits, ascending; none where it keeps no whole columns. */
export function weakIdsOf(layer: AnyLayer): Int32Array<ArrayBuffer> {
  if (!("stores" in layer)) return layer.weakIds;
  return Int32Array.from(layer.stores.find((s) => s.kind === "columns")?.arrays.ids?.values ?? []);
}

/** The report of a layer that nobody measured yet. */
export const NO_REPORT: LayerReport = {
  objective: NaN,
  objectiveRtn: NaN,
  damp: 0,
  fallback: null,
  deadColumns: 0,
  seconds: {},
};
