// The rows of the table, in its order. A new row: one task in rows/, one entry here.
import { dispatchTask } from "./rows/dispatch.ts";
import { matmulTask, packedMatmulTask } from "./rows/matmul.ts";
import { matvecTask, weakTask } from "./rows/matvec.ts";
import { optqTask } from "./rows/optq.ts";
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
  dispatchTask,
];
