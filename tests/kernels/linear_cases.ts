// Packed matrices made up for tests of the linears, and the way to run one.
import { openBuffers } from "../../lib/gpu/buffers.ts";
import type { Gpu } from "../../lib/gpu/device.ts";
import { rng } from "../../lib/io/rng.ts";
import type { DeviceLinear } from "../../lib/kernels/linear.ts";
import { packRows } from "../../lib/kernels/pack.ts";
import type { PackedBits, PackedMatrix } from "../../lib/kernels/packed_matrix.ts";

/** A matrix of random codes, with `weak` for weak columns and, where asked, groups of columns in act-order's disorder. */
export function packedCase(
  o: {
    readonly rows: number;
    readonly cols: number;
    readonly bits: PackedBits;
    readonly weak?: readonly number[];
    readonly groups?: number;
  },
): PackedMatrix {
  const { rows, cols, bits, weak = [], groups = 1 } = o;
  const random = rng(rows * 1000 + cols, `packed case of ${bits} bits, ${groups} groups`), top = 2 ** bits;
  const zero = Float32Array.from({ length: rows * groups }, () => random.int(top));
  const codes = Uint8Array.from({ length: rows * cols }, () => random.int(top));
  const groupOf = groups > 1 ? Int32Array.from({ length: cols }, () => random.int(groups)) : null;
  for (let r = 0; r < rows; r++) for (const c of weak) codes[r * cols + c] = zero[r * groups + (groupOf?.[c] ?? 0)];
  return {
    rows,
    cols,
    bits,
    groupOf,
    codes: packRows(codes, rows, cols, bits),
    scale: Float32Array.from({ length: rows * groups }, () => Math.f16round(0.01 + 0.05 * random.float())),
    zero,
    weakIds: Int32Array.from(weak),
    weak: Float32Array.from({ length: rows * weak.length }, () => Math.f16round(random.normal())),
  };
}

/** Standard normal vectors (vectors, cols). */
export function vectorsCase(cols: number, vectors: number): Float32Array<ArrayBuffer> {
  const random = rng(cols, "vectors");
  return Float32Array.from({ length: vectors * cols }, () => random.normal());
}

/** y (vectors, rows), the output filled with NaN before. */
export async function multiplyOnDevice(gpu: Gpu, linear: DeviceLinear, x: Float32Array<ArrayBuffer>, vectors: number) {
  const buffers = openBuffers(gpu), bytes = vectors * linear.rows * 4;
  try {
    const input = buffers.upload(x, "x"), output = buffers.scratch(bytes, "y");
    return await gpu.run("a product", async () => {
      const encoder = gpu.device.createCommandEncoder(), pass = encoder.beginComputePass();
      linear.record(pass, input, output, vectors);
      pass.end();
      gpu.device.queue.submit([encoder.finish()]);
      return new Float32Array(await buffers.read(output, bytes));
    });
  } finally {
    buffers.free();
  }
}
