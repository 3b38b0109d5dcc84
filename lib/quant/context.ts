// What the mathematics borrows from the rooms around it: kernels, and where there is a faster one, a product.
import type { Matrix } from "../io/tensor.ts";
import type { Kernels } from "../kernels/kernels.ts";
import type { FactorCache } from "./factor.ts";
import { objective } from "./hessian.ts";

/** The tools that a layer is quantized with. */
export interface QuantContext {
  readonly kernels: Kernels;
  /** tr(D H Dᵀ); the plain one of hessian.ts where none is given. */
  readonly objective?: (d: Matrix, h: Matrix) => Promise<number>;
  /** Lets linears with the same input share a factorization. */
  readonly factors?: FactorCache;
}

/** tr(D H Dᵀ), D = approximation − weight, by the context's product. Shapes: both (out, in), H (in, in). */
export async function layerObjective(
  c: QuantContext,
  approximation: Matrix,
  weight: Matrix,
  h: Matrix,
): Promise<number> {
  const d = { ...weight, data: approximation.data.map((v, i) => v - weight.data[i]) };
  return await (c.objective?.(d, h) ?? objective(d, h));
}

/** Seconds since `start`, a value of performance.now(). */
export function secondsSince(start: number): number {
  return (performance.now() - start) / 1000;
}
