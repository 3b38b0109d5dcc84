// What flows between two blocks, kept on disk, so that a resumed run need not send its calibration through again.
import { join } from "node:path";
import { openSafetensors } from "../io/safetensors.ts";
import { writeSafetensors } from "../io/safetensors_write.ts";
import type { Hidden } from "../model/language_model.ts";

/** Beyond this the file would cost more than sending the windows through the finished blocks once more. */
const MAX_BYTES = 1 << 30;

const FILE = "flow.safetensors";

/**
 * Keeps what flows into block `block`; replaces what was kept before.
 *
 * @param hidden (windows, length, width). Larger than 1 GiB it is not kept.
 * @throws LabError "storage" where the folder cannot be written.
 */
export async function keepFlow(folder: string, block: number, hidden: Hidden): Promise<void> {
  if (hidden.data.byteLength > MAX_BYTES) return;
  const shape = [hidden.windows, hidden.length, hidden.width];
  await writeSafetensors(join(folder, FILE), [{ name: "hidden", dtype: "F32", shape, data: hidden.data }], {
    block: `${block}`,
  });
}

/**
 * What was kept, where it flows into one of the first `finished + 1` blocks; null where there is nothing of use.
 */
export async function keptFlow(folder: string, finished: number): Promise<{ block: number; hidden: Hidden } | null> {
  try {
    const file = openSafetensors(join(folder, FILE));
    const block = Number(file.metadata.get("block")), { data, shape } = await file.read("hidden");
    file.close();
    if (!(block >= 1 && block <= finished)) return null;
    return { block, hidden: { data, windows: shape[0], length: shape[1], width: shape[2] } };
  } catch {
    return null; // missing or damaged: the finished blocks are gone through once more, with the same result
  }
}

/** Removes it once a run is whole. */
export async function dropFlow(folder: string): Promise<void> {
  await Deno.remove(join(folder, FILE)).catch(() => {});
}
