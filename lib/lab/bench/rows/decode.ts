// Text from packed weights on the device: seconds a token beside the same weights dense, and beside jax-js.
import { rng } from "../../../io/rng.ts";
import { openLanguageModel } from "../../../model/language_model.ts";
import { openPackedRuntime, type PackedRuntime } from "../../../model/packed_runtime.ts";
import type { Decoder } from "../../../model/decode.ts";
import { timedText } from "../../../model/timed_text.ts";
import { resolveModel } from "../../open.ts";
import { dequantized, layerFinder, storedModel } from "../decode_case.ts";
import { type Contestant, interleave } from "../timing.ts";
import { type BenchContext, type BenchRow, type BenchTask, emptyRow, shareOfLimit } from "../types.ts";
import { NO_GPU } from "./matvec.ts";

/** The first that leaves a weak column in a model: narrow ones get none at 3.01 bits. */
const TARGETS = [3.01, 3.1], PROMPT = 8;

export const decodeTask: BenchTask = {
  name: "decode",
  about: "one token after another from 3.01-bit weights against the same weights dense",
  weight: 40,
  run: async (c) => [await decodeRow(c, TARGETS)],
};

/**
 * Seconds a token, at the first of some targets of bits that leaves the model a weak column.
 *
 * @returns peers: the same (dequantized) weights dense in float32 on the device, and jax-js on WebAssembly; figures: tokens a
 *   second, bytes held on the device, seconds to the first token.
 */
export async function decodeRow(c: BenchContext, targets: readonly number[]): Promise<BenchRow> {
  const name = "decode", tokens = c.quick ? 4 : 32;
  if (!c.gpu) return emptyRow(name, c.model, NO_GPU);
  const files = await resolveModel(c.model), model = await openLanguageModel(files), open: { close(): void }[] = [];
  try {
    let stored = await storedModel(model, targets[0]);
    for (const t of targets.slice(1)) if (stored.weakColumns === 0) stored = await storedModel(model, t);
    const dense = dequantized(stored), { target } = stored;
    const capacity = PROMPT + tokens + 1, vocab = model.config.vocab, stream = rng(c.seed, "prompt");
    const prompt = Array.from({ length: PROMPT }, () => stream.int(vocab));
    const ours = await openPackedRuntime(c.gpu, files, { capacity, linears: layerFinder(stored.packed) });
    open.push(ours);
    const f32 = await openPackedRuntime(c.gpu, files, { capacity, linears: layerFinder(dense) });
    open.push(f32);
    const jax = await model.openDecoder({
      capacity,
      prepare: (block) => {
        for (const { name } of model.linears(block.index)) block.setWeight(name, dense.get(`${block.index}.${name}`)!);
        return Promise.resolve();
      },
    });
    open.push(jax);
    const write = (d: Decoder) => {
      d.restart();
      return timedText(d, prompt, { tokens });
    };
    const text = await write(ours), other = await write(f32);
    const share = text.ids.filter((id, i) => id === other.ids[i]).length / tokens;
    const contestant = (name: string, d: Decoder): Contestant => ({
      name,
      run: async () => 1 / (await write(d)).tokensPerSecond,
    });
    const peers = [contestant("own f32, same runtime", f32), contestant("jax-js wasm", jax)];
    const t = await interleave(contestant("ours", ours), peers, { rounds: c.rounds, seconds: c.rowSeconds });
    const weights = [...stored.packed.values()].reduce((n, m) => n + m.rows * m.cols, 0) + vocab * model.config.width;
    return {
      name,
      shape: `${files.label}, ${target} bits, ${stored.weakColumns} weak columns, after ${PROMPT} tokens`,
      seconds: t.ours.seconds,
      shareOfLimit: shareOfLimit(c.limits, 2 * weights, ours.bytes.linears + ours.bytes.ends, t.ours.seconds),
      peers: Object.fromEntries(Object.entries(t.peers).map(([p, v]) => [p, v.seconds])),
      ratio: t.peers["own f32, same runtime"].ratio,
      spread: t.peers["own f32, same runtime"].ratioSpread,
      rounds: t.rounds,
      agreement: share,
      note:
        `${ours.dispatches.token} dispatches a token; greedy text goes on by itself on the device and is read back ` +
        "now and then, 11 ms each in Deno; transformers.js and llama.cpp are not part of this run",
      figures: {
        tokensPerSecond: 1 / t.ours.seconds,
        firstTokenSeconds: text.firstTokenSeconds,
        ...bytesOf("", ours),
        ...bytesOf("dense ", f32),
        dispatchesPerToken: ours.dispatches.token,
      },
    };
  } finally {
    for (const o of open) o.close();
    model.close();
    files.source.close();
  }
}

function bytesOf(prefix: string, r: PackedRuntime): Record<string, number> {
  return { [`${prefix}bytes`]: r.bytes.total, [`${prefix}linear bytes`]: r.bytes.linears };
}
