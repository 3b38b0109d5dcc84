// Golden cases: what the reference implementations computed, replayed through the lab's own public functions.
import { LabError } from "../io/errors.ts";
import { openSafetensors } from "../io/safetensors.ts";
import type { Kernels } from "../kernels/kernels.ts";
import { GoldenCase, type GoldenCheck, holds } from "./golden_check.ts";
import { GOLDEN_FAMILIES } from "./golden_families/registry.ts";

/** A case's checks on one path. */
export interface GoldenResult {
  readonly file: string;
  readonly family: string;
  readonly path: string;
  readonly checks: readonly GoldenCheck[];
  readonly passed: boolean;
}

/**
 * Replays one golden file on one path.
 *
 * @param path the safetensors file. @param kernels the path: twins or GPU.
 * @returns every comparison with its bound; tolerances are those of the cases' README.
 * @throws LabError "input" where the file names a method this version does not know.
 */
export async function replayGolden(path: string, kernels: Kernels): Promise<GoldenResult> {
  const file = openSafetensors(path);
  try {
    const name = file.metadata.get("method") ?? file.metadata.get("format") ?? "";
    const family = GOLDEN_FAMILIES.get(name);
    if (!family) {
      const known = [...GOLDEN_FAMILIES.keys()].join(", ");
      throw new LabError("input", file.label, `golden cases of "${name}" are unknown here`, `Known: ${known}.`);
    }
    const checks = await family.replay(new GoldenCase(file), kernels);
    return { file: path, family: name, path: kernels.device, checks, passed: checks.length > 0 && checks.every(holds) };
  } finally {
    file.close();
  }
}
