// AMQ's average bits, with scales and zero points, and what its predictor reads; by dlwns147/amq.
import { averageBits, choiceColumns, freeColumns, type MixedSpace } from "../../quant/mixed_bits.ts";
import { Checks, type GoldenCase, type GoldenFamily } from "../golden_check.ts";

/** Average bits by group and by row, columns of the predictor. */
export const AMQ_BITS_GOLDEN: GoldenFamily = { names: ["amq-bits"], replay };

/** The space that a case's metadata describes. */
export function amqSpace(golden: GoldenCase): MixedSpace {
  const json = (key: string) => JSON.parse(golden.text(key)), shapes = json("linear_shape") as Record<string, number[]>;
  const linears = (json("linear") as string[]).map((name) => ({ name, rows: shapes[name][0], cols: shapes[name][1] }));
  const blocks = golden.number("n_block"), weights = golden.number("model_numel");
  return {
    linears,
    blocks,
    bits: json("bits_range") as number[],
    groupSize: golden.number("group_size"),
    pinned: JSON.parse(golden.text("pinned") || "[]") as string[],
    ...(weights > 0 ? { weights } : {}),
  };
}

/** The choices (architectures, columns) of a case. */
export function amqChoices(golden: GoldenCase, space: MixedSpace): number[][] {
  const all = golden.ints("bit_index"), n = choiceColumns(space).length;
  return Array.from({ length: all.length / n }, (_, i) => Array.from(all.slice(i * n, (i + 1) * n)));
}

async function replay(golden: GoldenCase) {
  const checks = new Checks(), space = amqSpace(golden), choices = amqChoices(golden, space);
  const bits = choices.map((c) => averageBits(space, c)), rows = choices.map((c) => averageBits(space, c, -1));
  checks.close("average bits", bits, await golden.floats("average_bits"), 1e-6);
  checks.close("average bits, a group a row", rows, await golden.floats("average_bits_per_row"), 1e-6);
  const free = freeColumns(space), inputs = choices.flatMap((c) => free.map((i) => c[i]));
  checks.share("predictor input", inputs, golden.ints("predictor_input"));
  return checks.list;
}
