// The methods of the lab. A new one is a file in this folder and a row here.
import { LabError } from "../io/errors.ts";
import { ADADIM } from "./adadim.ts";
import { AWQ } from "./awq.ts";
import { BAQ } from "./baq.ts";
import { BITSTACK } from "./bitstack.ts";
import { COMPACTIFAI } from "./compactifai.ts";
import { FINEQUANT } from "./finequant.ts";
import { GWQ } from "./gwq.ts";
import { HLQ } from "./hlq.ts";
import { HQQ } from "./hqq.ts";
import { LLM_INT8 } from "./llm_int8.ts";
import { LORC, LQER } from "./lorc.ts";
import type { Method } from "./method.ts";
import { FP4, NF4 } from "./nf4.ts";
import { OPTQ } from "./optq.ts";
import { OWQ } from "./owq.ts";
import { PTQ161 } from "./ptq161.ts";
import { PTQTP } from "./ptqtp.ts";
import { Q_PALETTE } from "./q_palette.ts";
import { RTN } from "./rtn.ts";
import { SLIM_LLM } from "./slim_llm.ts";
import { CROSSQUANT, SMOOTHQUANT, SMOOTHQUANT_PLUS } from "./smoothquant.ts";
import { SPQR } from "./spqr.ts";
import { SVDQUANT } from "./svdquant.ts";
import { withWeakColumns } from "./weak_columns.ts";

const ROWS: readonly Method[] = [
  RTN,
  OPTQ,
  OWQ,
  withWeakColumns(HQQ),
  withWeakColumns(NF4),
  withWeakColumns(FP4),
  LLM_INT8,
  withWeakColumns(FINEQUANT),
  withWeakColumns(AWQ),
  SMOOTHQUANT,
  withWeakColumns(SMOOTHQUANT_PLUS),
  CROSSQUANT,
  SPQR,
  GWQ,
  withWeakColumns(ADADIM),
  withWeakColumns(LORC),
  LQER,
  SVDQUANT,
  COMPACTIFAI,
  BAQ,
  withWeakColumns(HLQ),
  withWeakColumns(PTQTP),
  withWeakColumns(SLIM_LLM),
  PTQ161,
  BITSTACK,
  withWeakColumns(Q_PALETTE),
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
