// Which tensors a model has, by name and shape, and where a file keeps them.
import { LabError } from "../io/errors.ts";
import type { TensorSource } from "../io/source.ts";
import type { ModelConfig } from "./config.ts";

/** Names and shapes of all parameters, in the order in which they are used. */
export function parameterShapes(c: ModelConfig): Map<string, number[]> {
  const shapes = new Map<string, number[]>(), { names } = c;
  const addNorm = (name: string | null) => {
    if (name === null) return;
    shapes.set(`${name}.weight`, [c.width]);
    if (c.norm.kind === "layer") shapes.set(`${name}.bias`, [c.width]);
  };
  shapes.set(`${names.base}${names.embed}.weight`, [c.vocab, c.embedWidth]);
  if (names.projectIn !== null) shapes.set(`${names.base}${names.projectIn}.weight`, [c.width, c.embedWidth]);
  if (names.positions !== null && c.positions.kind === "learned" && c.maxPositions !== null) {
    shapes.set(`${names.base}${names.positions}.weight`, [c.maxPositions + c.positions.offset, c.width]);
  }
  addNorm(names.embedNorm && names.base + names.embedNorm);
  for (let i = 0; i < c.blocks; i++) {
    for (const [name, shape] of blockShapes(c)) shapes.set(blockPrefix(c, i) + name, shape);
  }
  addNorm(names.finalNorm && names.base + names.finalNorm);
  if (names.projectOut !== null) shapes.set(`${names.base}${names.projectOut}.weight`, [c.embedWidth, c.width]);
  if (!c.tied) shapes.set(`${names.head}.weight`, [c.vocab, c.embedWidth]);
  return shapes;
}

/** "model.layers.3." and the like. */
export function blockPrefix(c: ModelConfig, index: number): string {
  return `${c.names.base}${c.names.blocks}.${index}.`;
}

/** Names (without the block's prefix) and shapes of one block's parameters. */
export function blockShapes(c: ModelConfig): Map<string, number[]> {
  const shapes = new Map<string, number[]>();
  for (const name of [c.names.norm1, c.names.norm2]) {
    if (name === null) continue;
    shapes.set(`${name}.weight`, [c.width]);
    if (c.norm.kind === "layer") shapes.set(`${name}.bias`, [c.width]);
  }
  for (const l of c.linears) {
    shapes.set(`${l.name}.weight`, [l.out, l.in]);
    if (l.bias) shapes.set(`${l.name}.bias`, [l.out]);
  }
  return shapes;
}

/**
 * Files saved from the bare trunk lack the prefix "model." or "transformer.": the name each tensor has in this file.
 *
 * @throws LabError of kind "format" for a tensor that is missing or has another shape.
 */
export function locateTensors(source: TensorSource, c: ModelConfig): Map<string, string> {
  const names = new Map<string, string>();
  for (const [name, shape] of parameterShapes(c)) {
    const bare = name.startsWith(c.names.base) ? name.slice(c.names.base.length) : name;
    const found = source.tensors.has(name) ? name : bare, info = source.tensors.get(found);
    if (!info) {
      throw new LabError("format", source.label, `has no tensor "${name}"`, `A ${c.family} model needs it.`);
    }
    if (info.shape.join() !== shape.join()) {
      const is = `[${info.shape.join(", ")}]`, should = `[${shape.join(", ")}]`;
      throw new LabError("format", source.label, `"${name}" has shape ${is}, config.json says ${should}`);
    }
    names.set(name, found);
  }
  return names;
}
