// Where things lie, in one place, so that no command spells a folder's name for itself.
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

/** The folders of one clone; every path is absolute. */
export interface LabPaths {
  readonly root: string;
  /** The committed notebooks. */
  readonly notebooks: string;
  /** The committed records, one a notebook and model. */
  readonly storedRecords: string;
  /** Everything that runs produce; ignored by git. */
  readonly out: string;
  /** Python's virtual environment with Jupyter. */
  readonly venv: string;
}

/**
 * The folders of the clone that holds this file, or of another root (tests use a temporary one).
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { labPaths } from "./paths.ts";
 * assert.ok(labPaths("/clone").storedRecords.endsWith("notebooks/records"));
 * ```
 */
export function labPaths(root: string = fileURLToPath(new URL("../..", import.meta.url))): LabPaths {
  const notebooks = join(root, "notebooks");
  return {
    root: join(root, "."),
    notebooks,
    storedRecords: join(notebooks, "records"),
    out: join(root, "out"),
    venv: join(root, ".venv"),
  };
}

/**
 * A path as people like to read it: relative to the clone where it lies inside it.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { labPaths, shortPath } from "./paths.ts";
 * assert.equal(shortPath(`${labPaths().root}/out/03.html`), "out/03.html");
 * ```
 */
export function shortPath(path: string): string {
  const short = relative(labPaths().root, path);
  return short === "" ? "." : short.startsWith("..") ? path : short;
}
