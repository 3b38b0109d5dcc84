// Bases for tests of tuning: a tiny model quantized by OWQ, as its packed folder would be read.
import type { ModelInput } from "../../lib/model/language_model.ts";
import type { Tensor } from "../../lib/io/tensor.ts";
import { modelConfig } from "../../lib/model/families.ts";
import type { QuantizedLayer } from "../../lib/quant/layer.ts";
import { dequantize } from "../../lib/quant/dequantize.ts";
import { quantizeTiny } from "./quantized_tiny.ts";
import { memorySource, tinyModel } from "./tiny.ts";

/** A quantized base: its linears dequantized, their weak columns by tensor name. */
export interface TinyBase {
  readonly files: ModelInput & { tensors: Map<string, Tensor> };
  readonly layers: ReadonlyMap<string, QuantizedLayer>;
  readonly ids: ReadonlyMap<string, Int32Array>;
}

/** The tiny model of a family at 3 bits with `weak` weak columns a linear. */
export async function tinyBase(family: string, weak: number): Promise<TinyBase> {
  const files = tinyModel(family), { names } = modelConfig(files.config), tensors = new Map<string, Tensor>();
  for (const name of files.source.tensors.keys()) {
    const full = name.startsWith(names.base) || name.startsWith(names.head) ? name : names.base + name;
    tensors.set(full, await files.source.read(name));
  }
  const { layers } = await quantizeTiny(files, [{ bits: 3 }], weak);
  for (const [name, layer] of layers) {
    const { data, rows, cols } = dequantize(layer);
    tensors.set(`${name}.weight`, { data, shape: [rows, cols] });
  }
  const source = memorySource(tensors), ids = new Map([...layers].map(([name, l]) => [name, l.weakIds]));
  return { files: { label: `${family}, quantized`, config: files.config, source, tensors }, layers, ids };
}
