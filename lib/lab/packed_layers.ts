// The linears of a packed folder, one at a time; each block's file is opened once.
import { join } from "node:path";
import { LabError } from "../io/errors.ts";
import { openSafetensors, type SafetensorsFile } from "../io/safetensors.ts";
import { type PackedEntry, readPacked } from "./packed.ts";

/** The linears of a packed folder. */
export interface PackedLayers {
  /** One linear by its tensor's name without ".weight", bit by bit as it was written. Throws LabError as readPacked. */
  layer(tensor: string): ReturnType<typeof readPacked>;
  /** SHA-256 of every file, in the order of the index. */
  sums(): Promise<string[]>;
  close(): void;
}

/**
 * Opens the linears that an index lists; files are opened when they are first read.
 *
 * @param folder the packed folder. @param entries the layers of its owq_lab.json.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { openPackedLayers } from "./packed_layers.ts";
 * assert.throws(() => openPackedLayers("out/run", {}).layer("q"), /out\/run: has no packed linear "q"/);
 * ```
 */
export function openPackedLayers(folder: string, entries: Readonly<Record<string, PackedEntry>>): PackedLayers {
  const files = new Map<string, SafetensorsFile>();
  const open = (file: string) => {
    const known = files.get(file);
    if (known) return known;
    const opened = openSafetensors(join(folder, file));
    files.set(file, opened);
    return opened;
  };
  return {
    layer(tensor) {
      const entry = entries[tensor];
      if (!entry) throw new LabError("format", folder, `has no packed linear "${tensor}"`);
      return readPacked(open(entry.file), tensor, entry);
    },
    sums: async () => {
      const sums: string[] = [];
      for (const file of new Set(Object.values(entries).map((e) => e.file))) sums.push(await open(file).sha256());
      return sums;
    },
    close: () => files.forEach((f) => f.close()),
  };
}
