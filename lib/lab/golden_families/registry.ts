// The golden families this version knows. A new one is a file in this folder and a line here.
import type { GoldenFamily } from "../golden_check.ts";
import { ADADIM_GOLDEN } from "./adadim.ts";
import { AMQ_BITS_GOLDEN } from "./amq_bits.ts";
import { AMQ_JSD_GOLDEN } from "./amq_jsd.ts";
import { AMQ_NSGA_GOLDEN } from "./amq_nsga.ts";
import { AMQ_RBF_GOLDEN } from "./amq_rbf.ts";
import { AWQ_GOLDEN } from "./awq.ts";
import { BAQ_GOLDEN } from "./baq.ts";
import { BITSTACK_GOLDEN } from "./bitstack.ts";
import { BNB_GOLDEN } from "./bnb.ts";
import { DOLA_GOLDEN } from "./dola.ts";
import { GPTQ_GOLDEN } from "./gptq.ts";
import { HLQ_GOLDEN } from "./hlq.ts";
import { HQQ_GOLDEN } from "./hqq.ts";
import { LM_EVAL_GOLDEN } from "./lm_eval.ts";
import { LLM_INT8_GOLDEN } from "./llm_int8.ts";
import { OWQ_GOLDEN } from "./owq.ts";
import { PTQ161_GOLDEN } from "./ptq161.ts";
import { PTQTP_GOLDEN } from "./ptqtp.ts";
import { Q_PALETTE_GOLDEN } from "./q_palette.ts";
import { SLIM_LLM_GOLDEN } from "./slim_llm.ts";
import { SMOOTHQUANT_GOLDEN } from "./smoothquant.ts";
import { SPQR_GOLDEN } from "./spqr.ts";
import { SVDQUANT_GOLDEN } from "./svdquant.ts";
import { TT_SVD_GOLDEN } from "./tt_svd.ts";

const FAMILIES: readonly GoldenFamily[] = [
  OWQ_GOLDEN,
  GPTQ_GOLDEN,
  HQQ_GOLDEN,
  BNB_GOLDEN,
  LLM_INT8_GOLDEN,
  AWQ_GOLDEN,
  SMOOTHQUANT_GOLDEN,
  SPQR_GOLDEN,
  ADADIM_GOLDEN,
  SVDQUANT_GOLDEN,
  TT_SVD_GOLDEN,
  BAQ_GOLDEN,
  HLQ_GOLDEN,
  PTQTP_GOLDEN,
  SLIM_LLM_GOLDEN,
  PTQ161_GOLDEN,
  BITSTACK_GOLDEN,
  LM_EVAL_GOLDEN,
  AMQ_BITS_GOLDEN,
  AMQ_JSD_GOLDEN,
  AMQ_RBF_GOLDEN,
  AMQ_NSGA_GOLDEN,
  DOLA_GOLDEN,
  Q_PALETTE_GOLDEN,
];

/** The families by the `method` of their files, or `format` where a file has no method. */
export const GOLDEN_FAMILIES: ReadonlyMap<string, GoldenFamily> = new Map(
  FAMILIES.flatMap((f) => f.names.map((name) => [name, f])),
);
