// Round to nearest. Each weight goes to the nearest point of its row's grid, min–max or searched; no text is looked at.
//   q = clamp(round(w / s) + z, 0, 2^b − 1),  s = (max − min) / (2^b − 1),  z = round(−min / s)
import { rtn, rtnSearched } from "../quant/rtn.ts";
import { gridCandidates } from "./fit.ts";
import { gridStorage, type Method } from "./method.ts";

/** The baseline that every other method has to beat. */
export const RTN: Method = {
  name: "rtn",
  title: "round to nearest on the min–max grid",
  storage: "b + (s + b)/g, s bits a scale, g columns a group (the row's width without groups)",
  source: "the usual baseline; grid of arXiv 2210.17323",
  needs: { hessian: false },
  weakColumns: false,
  defaults: { tuning: "minmax", symmetric: false, groupSize: 0, steps: 100, scaleBits: 32 },
  choices: { tuning: ["minmax", "mse"], scaleBits: [16, 32] },
  nominal: true,
  stored: gridStorage,
  candidates: (shape, o, target) => gridCandidates(shape.cols, { ...o, scaleBits: 16 }, target),
  quantizeLayer: async (problem, o, bits, _weak, context) => {
    const grid = {
      bits,
      symmetric: o.symmetric === true,
      groupSize: Number(o.groupSize),
      scaleBits: o.scaleBits === 16 ? 16 as const : 32 as const,
    };
    return o.tuning === "mse" ? await rtnSearched(problem, grid, Number(o.steps), context) : rtn(problem, grid);
  },
};
