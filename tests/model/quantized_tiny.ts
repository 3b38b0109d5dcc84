// Small models quantized by OWQ for tests: their linears in codes, and dequantized into a model that jax runs.
import type { Matrix } from "../../lib/io/tensor.ts";
import { openKernels } from "../../lib/kernels/kernels.ts";
import { type ModelInput, openLanguageModel } from "../../lib/model/language_model.ts";
import type { OtherWeights } from "../../lib/model/perplexity.ts";
import type { StoredLinear } from "../../lib/model/packed_block.ts";
import { blockPrefix } from "../../lib/model/parameters.ts";
import { dequantize } from "../../lib/quant/dequantize.ts";
import type { QuantizedLayer } from "../../lib/quant/layer.ts";
import { owq, OWQ_DEFAULTS, type OwqOptions } from "../../lib/quant/owq.ts";
import { toPackedMatrix } from "../../lib/quant/packed_matrix.ts";
import { randomIds } from "./tiny.ts";

/** A quantized model by its linears. */
export interface QuantizedTiny {
  readonly layers: ReadonlyMap<string, QuantizedLayer>;
  /** For the packed runtime. */
  readonly stored: StoredLinear;
  /** For jax. */
  readonly weights: OtherWeights;
}

/** Quantizes every linear with `weak` weak columns, on the second moments of random tokens; `o` holds options by block. */
export async function quantizeTiny(
  files: ModelInput,
  o: readonly Partial<OwqOptions>[],
  weak: number,
): Promise<QuantizedTiny> {
  const model = await openLanguageModel(files), layers = new Map<string, QuantizedLayer>();
  const kernels = await openKernels("cpu"), { config } = model, length = 32;
  let h = await model.embed(randomIds(8 * length, config.vocab, 7), 8, length);
  for (let b = 0; b < model.blocks; b++) {
    const block = await model.openBlock(b), grams = await block.gram(h);
    for (const l of model.linears(b)) {
      const name = `${blockPrefix(config, b)}${l.name}`, weight: Matrix = block.weight(l.name);
      const problem = { name, weight, hessian: grams.get(l.input)!, seed: 0 };
      layers.set(name, await owq(problem, { ...OWQ_DEFAULTS, steps: 40, ...o[b % o.length] }, weak, { kernels }));
    }
    h = await block.forward(h);
    block.close();
  }
  kernels.close();
  model.close();
  return {
    layers,
    stored: (tensor) => Promise.resolve(toPackedMatrix(layers.get(tensor)!)),
    weights: (b, linear) => Promise.resolve(dequantize(layers.get(`${blockPrefix(config, b)}${linear}`)!)),
  };
}
