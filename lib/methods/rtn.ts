// Round to nearest. Each weight goes to the nearest point of its row's min–max grid; nothing is measured, nothing learnt.
//   q = clamp(round(w / s) + z, 0, 2^b − 1),  s = (max − min) / (2^b − 1),  z = round(−min / s)
import { rtn } from "../quant/rtn.ts";
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
  defaults: { symmetric: false, groupSize: 0, scaleBits: 32 },
  choices: { scaleBits: [16, 32] },
  nominal: true,
  stored: gridStorage,
  candidates: (shape, o, target) => gridCandidates(shape.cols, { ...o, scaleBits: 16 }, target),
  quantizeLayer: (problem, o, bits) =>
    Promise.resolve(rtn(problem, {
      bits,
      symmetric: o.symmetric === true,
      groupSize: Number(o.groupSize),
      scaleBits: o.scaleBits === 16 ? 16 : 32,
    })),
};
