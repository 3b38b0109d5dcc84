// OWQ's weak columns as an option of other methods: `--set weak=8` keeps the 8 weakest columns of each linear in 16 bits,
// has the method round the rest as if they were 0, and lets them take up what the rest loses.
// Stored besides: 16 k/in + k log2(in)/(in · out); the low-bit copy of the columns stays, as in OWQ's own form.
import { addBits, plannedBits, type StoredBits } from "../quant/budget.ts";
import { dequantize } from "../quant/dequantize.ts";
import { columnsStore, planColumns } from "../quant/stores/columns.ts";
import { compensateColumns, weakestColumns } from "../quant/weak_columns.ts";
import type { Method } from "./method.ts";
import { required, storedLayer } from "./stored_layer.ts";

/**
 * A method with the option `weak`: columns of each linear that stay, 0 unless set. With it the method needs H.
 *
 * @param m a method whose layers are lists of stores.
 * @throws LabError where H is missing.
 */
export function withWeakColumns(m: Method): Method {
  const kept = (rows: number, cols: number, k: number): StoredBits => ({
    ...plannedBits([planColumns(rows, cols, Math.min(k, cols))], rows * cols),
    weights: 0,
  });
  return {
    ...m,
    defaults: { ...m.defaults, weak: 0 },
    stored: (shape, o, bits, weakColumns) => {
      const own = m.stored(shape, o, bits, weakColumns), k = Number(o.weak);
      return k > 0 ? addBits([own, kept(shape.rows, shape.cols, k)]) : own;
    },
    async quantizeLayer(problem, o, bits, weakColumns, context) {
      const k = Math.min(Number(o.weak), problem.weight.cols);
      if (!(k > 0)) return await m.quantizeLayer(problem, o, bits, weakColumns, context);
      const { weight } = problem, h = required(problem, "hessian");
      const whole = dequantize(await m.quantizeLayer(problem, o, bits, weakColumns, context));
      const ids = weakestColumns(weight, whole, h, k), rest = { ...weight, data: weight.data.slice() };
      for (let r = 0; r < weight.rows; r++) for (const j of ids) rest.data[r * weight.cols + j] = 0;
      const layer = await m.quantizeLayer({ ...problem, weight: rest }, o, bits, weakColumns, context);
      if (!("stores" in layer)) throw new TypeError(`${m.name} does not store a list of stores`);
      const columns = columnsStore(compensateColumns(weight, dequantize(layer), h, ids), ids);
      return await storedLayer(problem, m.name, bits, [...layer.stores, columns], context, layer.report);
    },
  };
}
