// The methods of the lab. A new one is a file in this folder and a row here.
import { LabError } from "../io/errors.ts";
import { HQQ } from "./hqq.ts";
import type { Method } from "./method.ts";
import { FP4, NF4 } from "./nf4.ts";
import { OPTQ } from "./optq.ts";
import { OWQ } from "./owq.ts";
import { RTN } from "./rtn.ts";

const ROWS: readonly Method[] = [
  RTN,
  OPTQ,
  OWQ,
  HQQ,
  NF4,
  FP4,
];

/** All methods by name. */
export const METHODS: ReadonlyMap<string, Method> = new Map(ROWS.map((m) => [m.name, m]));

/**
 * A method by its name.
 *
 * @throws LabError that lists the known ones.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { findMethod } from "./table.ts";
 * assert.equal(findMethod("owq").weakColumns, true);
 * assert.throws(() => findMethod("owk"), /rtn, optq, owq/);
 * ```
 */
export function findMethod(name: string): Method {
  const method = METHODS.get(name);
  if (!method) throw new LabError("input", `method "${name}"`, "unknown", `Known: ${[...METHODS.keys()].join(", ")}.`);
  return method;
}
