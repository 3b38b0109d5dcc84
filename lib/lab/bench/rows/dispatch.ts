// What one dispatch costs by itself: the reason why kernels are fused.
import { type BenchTask, emptyRow } from "../types.ts";
import { NO_GPU } from "./matvec.ts";

export const dispatchTask: BenchTask = {
  name: "dispatch",
  about: "an empty dispatch among many in one pass",
  weight: 1,
  run: (c) => {
    if (!c.limits) return Promise.resolve([emptyRow("dispatch", "one empty workgroup", NO_GPU)]);
    return Promise.resolve([{
      name: "dispatch",
      shape: "one empty workgroup",
      seconds: c.limits.dispatchSeconds,
      shareOfLimit: null,
      peers: {},
      ratio: null,
      spread: null,
      rounds: Math.max(7, c.rounds),
      note: "measured with the limits; published for Vulkan on GPUs: 24 to 36 µs",
    }]);
  },
};
