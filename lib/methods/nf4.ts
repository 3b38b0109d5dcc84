// NF4 and FP4. Without data: each weight goes to the nearest of 16 fixed levels, scaled by the largest weight of its
// block. NormalFloat's levels lie where a normal weight lies equally often; FP4's are those of a tiny float.
//   ŵ = a · level[q],  a = max|w| over a block of the flattened matrix
// Stored a weight: b + s/g, s = 16 or 32 bits a scale; double quantization: b + 8/g + 32/(256 g).
// Source: QLoRA, arXiv 2305.14314; rules as in bitsandbytes 0.50.2.
// Ours: NormalFloat of 2 to 8 bits by the same rule, scales of 16 bits, any size of a block.
import { plannedBits } from "../quant/budget.ts";
import { f16round } from "../quant/f16.ts";
import { blockCodes, codeScales, fp4Levels, normalFloat } from "../quant/levels.ts";
import { type LevelsPlan, levelsStore, planLevels } from "../quant/stores/levels.ts";
import { wanted } from "./fit.ts";
import type { LinearShape, Method, Options } from "./method.ts";
import { storedLayer } from "./stored_layer.ts";

/** Blocks run over the flattened matrix, so they need not fit a row. */
const BLOCKS = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096];

function tableMethod(
  name: string,
  title: string,
  source: string,
  table: "nf" | "fp4",
  widths: readonly number[],
): Method {
  const plan = ({ rows, cols }: LinearShape, o: Options, bits: number): LevelsPlan => {
    const scale = o.doubleQuantization === true ? "double" : o.scaleBits === 32 ? 32 : 16;
    return { rows, cols, bits, table, block: Number(o.groupSize), scale };
  };
  return {
    name,
    title,
    storage: "b + s/g, s bits a scale of g weights; with double quantization b + 8/g + 32/(256 g)",
    source,
    needs: { hessian: false },
    weakColumns: false,
    defaults: { codeBits: 0, groupSize: 0, scaleBits: 16, doubleQuantization: false },
    choices: { scaleBits: [16, 32] },
    stored: (shape, o, bits) => plannedBits([planLevels(plan(shape, o, bits))], shape.rows * shape.cols),
    *candidates(_, o, target) {
      for (const bits of wanted(o, "codeBits", widths.filter((b) => b <= target))) {
        for (const groupSize of wanted(o, "groupSize", BLOCKS)) {
          yield { bits, options: { ...o, codeBits: bits, groupSize } };
        }
      }
    },
    quantizeLayer: (problem, o, bits, _weak, context) => {
      const p = plan(problem.weight, o, bits), { data } = problem.weight;
      const levels = table === "nf" ? normalFloat(bits) : fp4Levels(), own = blockCodes(data, levels, p.block).absmax;
      if (p.scale === "double") {
        const s = codeScales(own), { codes } = blockCodes(data, levels, p.block); // codes of the exact scale, as the library
        const values = { codes, scale_codes: s.codes, scale_top: s.top, scale_offset: [s.offset] };
        return storedLayer(problem, name, bits, [levelsStore(p, values)], context);
      }
      const scale = p.scale === 16 ? own.map(f16round) : own, { codes } = blockCodes(data, levels, p.block, scale);
      return storedLayer(problem, name, bits, [levelsStore(p, { codes, scale })], context);
    },
  };
}

/** NormalFloat. */
export const NF4: Method = tableMethod(
  "nf4",
  "NormalFloat: levels that a normal weight meets equally often",
  "Dettmers et al., NeurIPS 2023, arXiv 2305.14314",
  "nf",
  [8, 7, 6, 5, 4, 3, 2],
);

/** bitsandbytes' 4-bit float. */
export const FP4: Method = tableMethod(
  "fp4",
  "FP4: the levels of a four-bit float, as bitsandbytes has them",
  "bitsandbytes 0.50.2, github.com/bitsandbytes-foundation/bitsandbytes",
  "fp4",
  [4],
);
