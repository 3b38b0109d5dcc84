// OWQ. A few input columns meet activation outliers and cause most of the output error: keep those in 16 bits, round the
// rest by OPTQ on a searched grid, and let the weak columns absorb the error of the rest.
//   weak = top k of s_j = H_jj · ‖W_:,j − Q(W)_:,j‖²,  k from the target bits or a fixed rank
import { owq, OWQ_DEFAULTS } from "../quant/owq.ts";
import { SENSITIVITY_RULES } from "../quant/sensitivity.ts";
import { gridStorage, type Method } from "./method.ts";
import { OPTQ_CHOICES, optqOptions } from "./optq.ts";

const { bits: _bits, ...defaults } = OWQ_DEFAULTS;

/** Outlier-aware weight quantization. */
export const OWQ: Method = {
  name: "owq",
  title: "OWQ: weak columns in 16 bits, the rest by OPTQ on a searched grid",
  storage: "b + (s + b)/g + k·16/in + k·32/(in·out), k weak columns",
  source: "Lee, Jin, Kim, Kim, Park, AAAI 2024, arXiv 2306.02272",
  needs: { hessian: true },
  weakColumns: true,
  defaults,
  choices: { ...OPTQ_CHOICES, rule: SENSITIVITY_RULES },
  nominal: true,
  stored: gridStorage,
  *candidates(shape, o, target) {
    const options = { ...o, scaleBits: 16 };
    for (let bits = Math.min(8, Math.floor(target)); bits >= 2; bits--) {
      for (let weakColumns = Math.floor(shape.cols / 4); weakColumns >= 0; weakColumns--) {
        yield { bits, options, weakColumns };
      }
    }
  },
  quantizeLayer: (problem, o, bits, weak, context) => {
    const rule = SENSITIVITY_RULES.find((r) => r === o.rule) ?? OWQ_DEFAULTS.rule;
    return owq(problem, { ...optqOptions(o, bits), rule, sensitivitySteps: Number(o.sensitivitySteps) }, weak, context);
  },
};
