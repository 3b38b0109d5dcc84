// What judges a configuration: the HQQ copies that it chooses, run on a text, against the float model.
import { LabError } from "../../io/errors.ts";
import type { OnProgress } from "../../io/progress.ts";
import type { ModelFiles } from "../../io/open_model.ts";
import { openWindows, type TextWindows } from "../../io/windows.ts";
import { openMeter } from "../../model/divergence_meter.ts";
import { openLanguageModel } from "../../model/language_model.ts";
import { openSwaps } from "../../model/weight_swap.ts";
import type { MixedSpace } from "../../quant/mixed_bits.ts";
import type { Fingerprint } from "../journal.ts";
import { resolveModel } from "../open.ts";
import type { TextRecipe } from "../recipe.ts";
import { labVersion } from "../version.ts";
import { openCopies } from "./copies.ts";
import type { Measured } from "./rounds.ts";
import { modelSpace, textBits, textPlan } from "./space.ts";

/** Everything that decides what a configuration is judged by. */
export interface ProxySettings {
  /** SPEC of the model. */
  readonly model: string;
  /** Windows drawn from a text as for calibration; predictions on all of them are compared. */
  readonly text: TextRecipe;
  /** Bits that each linear may have, ascending. */
  readonly bits: readonly number[];
  /** Columns a scale and a zero point; 0: the largest of 128, 64, 32 that cuts every linear evenly. */
  readonly groupSize: number;
  readonly seed: number;
}

/** An open proxy. */
export interface Proxy {
  /** No linear pinned. */
  readonly space: MixedSpace;
  readonly settings: ProxySettings;
  readonly fingerprint: Fingerprint;
  /** What a configuration measures, given as its digits; the same to the last bit whatever was evaluated before. */
  evaluate(point: string): Promise<Measured>;
  close(): void;
}

/** How it is opened; nothing here changes what is measured. */
export interface ProxyOptions {
  readonly onProgress?: OnProgress;
  readonly localCopy?: string;
  /** Folder of the copies; the lab's cache by default. */
  readonly copies?: string;
}

/** Windows that suit a model: a handful, as AMQ has them. */
export function proxySettings(model: string, o: Partial<ProxySettings> = {}): ProxySettings {
  const text = { text: "moby-dick", samples: 8, seqLen: model === "fixture" ? 128 : 256 };
  return { model, text, bits: [2, 3, 4], groupSize: 0, seed: 0, ...o };
}

/**
 * Opens the model, its copies and the text, and runs the float model once.
 *
 * @throws LabError as resolveModel, openWindows, modelSpace, openCopies.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openProxy, proxySettings } from "./proxy.ts";
 * const text = { text: "moby-dick", samples: 1, seqLen: 16 }, proxy = await openProxy(proxySettings("fixture", { text }));
 * const { bits, jsd } = await proxy.evaluate("4".repeat(28));
 * assert(bits === 4.25 && jsd > 0 && jsd < Math.LN2);
 * proxy.close();
 * ```
 */
export async function openProxy(settings: ProxySettings, o: ProxyOptions = {}): Promise<Proxy> {
  const onProgress = o.onProgress ? { onProgress: o.onProgress } : {};
  const files = await resolveModel(settings.model, onProgress), close: (() => void)[] = [() => files.source.close()];
  const closeAll = () => {
    for (const f of close.reverse()) f();
  };
  try {
    const model = await openLanguageModel(files);
    close.push(() => model.close());
    const space = modelSpace(model, settings.bits, settings.groupSize);
    const windows = await cut(files, settings, o.localCopy);
    const sha256 = await files.source.sha256(), { bits } = settings, { groupSize } = space;
    const copies = await openCopies(model, sha256, {
      bits,
      groupSize,
      ...onProgress,
      ...(o.copies ? { folder: o.copies } : {}),
    });
    close.push(copies.close);
    const meter = await openMeter(model, windows), swaps = await openSwaps(model, windows, copies.weight);
    close.push(() => swaps.close());
    return {
      space,
      settings,
      fingerprint: {
        "lab version": await labVersion(),
        "model sha256": sha256,
        "text sha256": windows.sha256,
        "bits to choose from": bits.join(" "),
        "columns a group": `${groupSize}`,
      },
      evaluate: async (point) => ({
        bits: textBits(space, point),
        ...finite(point, await meter.measure(await swaps.forward(textPlan(space, point)))),
      }),
      close: closeAll,
    };
  } catch (e) {
    closeAll();
    throw e;
  }
}

/**
 * What a proxy will be, before any copy is made: its space, and seconds an evaluation by the float model on one window.
 *
 * @throws LabError as {@link openProxy}, but for the copies.
 */
export async function planProxy(
  settings: ProxySettings,
  o: Pick<ProxyOptions, "localCopy"> = {},
): Promise<{ space: MixedSpace; seconds: number }> {
  const files = await resolveModel(settings.model);
  try {
    const model = await openLanguageModel(files), space = modelSpace(model, settings.bits, settings.groupSize);
    const { ids, length, windows } = await cut(files, settings, o.localCopy);
    const one = { ids: ids.slice(0, length), windows: 1, length };
    await openMeter(model, one); // compiles
    const start = performance.now();
    await openMeter(model, one);
    const seconds = windows * (performance.now() - start) / 1000;
    model.close();
    return { space, seconds };
  } finally {
    files.source.close();
  }
}

/** The windows that predictions are compared on. */
async function cut(files: ModelFiles, { text, seed }: ProxySettings, localCopy?: string): Promise<TextWindows> {
  return await openWindows(text.text, {
    tokenizer: await files.tokenizer(),
    samples: text.samples,
    seqLen: text.seqLen,
    seed,
    purpose: "calibration",
    ...(localCopy ? { localCopy } : {}),
  });
}

function finite<T extends { jsd: number; old: number }>(point: string, d: T): T {
  if (Number.isFinite(d.jsd) && Number.isFinite(d.old)) return d;
  throw new LabError("numeric", `configuration ${point}`, `diverges by ${d.jsd}`, "Its copies hold no usable weights.");
}
