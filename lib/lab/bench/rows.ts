// The rows of the table, in its order. A new row: one task in rows/, one entry here.
import { decodeTask } from "./rows/decode.ts";
import { dequantizeTask } from "./rows/dequantize.ts";
import { dispatchTask } from "./rows/dispatch.ts";
import { gramTask } from "./rows/gram.ts";
import { matmulTask, packedMatmulTask } from "./rows/matmul.ts";
import { matvecTask, weakTask } from "./rows/matvec.ts";
import { optqTask } from "./rows/optq.ts";
import { perplexityTask } from "./rows/perplexity.ts";
import { searchTask } from "./rows/search.ts";
import type { BenchTask } from "./types.ts";

/** All tasks, each with the rows of one name. */
export const BENCH_TASKS: readonly BenchTask[] = [
  weakTask(3.01),
  weakTask(3.1),
  matvecTask,
  matmulTask,
  packedMatmulTask,
  searchTask,
  optqTask,
  gramTask,
  decodeTask,
  perplexityTask,
  dequantizeTask,
  dispatchTask,
];
