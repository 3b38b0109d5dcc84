// Seeded damage to a valid file, and the watch that both fuzzers keep over a reader.
import assert from "node:assert/strict";
import { openMemory, type RandomAccess } from "../../lib/io/bytes.ts";
import type { Rng } from "../../lib/io/rng.ts";

/** One to three flips, truncations, insertions or duplications, at random places. */
export function damage(bytes: Uint8Array<ArrayBuffer>, random: Rng): Uint8Array<ArrayBuffer> {
  let b = bytes;
  for (let n = 1 + random.int(3); n > 0; n--) {
    const at = random.int(b.length + 1), length = 1 + random.int(random.int(2) === 0 ? 4 : 64);
    const kind = random.int(6), head = b.subarray(0, at), rest = b.subarray(at);
    if (kind === 0) b = b.slice(0, at);
    else if (kind === 1) b = join(head, Uint8Array.from({ length }, () => random.int(256)), rest);
    else if (kind === 2) b = join(head, b.subarray(at, at + length), rest);
    else if (kind === 3) b = join(head, b.subarray(at + length)); // a piece is missing
    else if (at < b.length) {
      b = b.slice();
      // A flipped bit, or a byte out of those that do most harm to lengths and offsets.
      b[at] = kind === 4 ? b[at] ^ (1 << random.int(8)) : [0, 1, 0x7f, 0x80, 0xff, 0x30, 0x39, 0x22][random.int(8)];
    }
  }
  return b;
}

function join(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

const ALLOCATORS =
  ("ArrayBuffer Array Uint8Array Int8Array Uint16Array Int16Array Float16Array Uint32Array Int32Array " +
    "Float32Array Float64Array BigInt64Array BigUint64Array").split(" ");

/**
 * Runs `use` with random access to `bytes` while every typed array and buffer that it makes is measured:
 * none may be larger than `bytesAllowed(size)`. (The place a damaged length does harm is exactly such an allocation.)
 */
export async function watched<T>(
  bytes: Uint8Array,
  bytesAllowed: (size: number) => number,
  use: (access: RandomAccess) => Promise<T>,
): Promise<T> {
  const limit = bytesAllowed(bytes.length), restore: (() => void)[] = [];
  const check = (n: number, what: string) => {
    if (n > limit) throw new RangeError(`${what} of ${n} bytes asked for, from a file of ${bytes.length}`);
  };
  const globals = globalThis as unknown as Record<string, { BYTES_PER_ELEMENT?: number }>;
  for (const name of ALLOCATORS) {
    const original = globals[name];
    globals[name] = new Proxy(original as object, {
      construct(target, args, self) {
        const size = original.BYTES_PER_ELEMENT ?? (name === "Array" ? 8 : 1);
        if (typeof args[0] === "number") check(args[0] * size, name);
        else if (args[0]?.length !== undefined) check(args[0].length * size, name);
        return Reflect.construct(
          target as new () => object,
          args,
          self === globals[name] ? target as new () => object : self,
        );
      },
    }) as typeof original;
    restore.push(() => globals[name] = original);
  }
  try {
    return await use(openMemory("damaged", bytes));
  } finally {
    for (const undo of restore) undo();
  }
}

/** Fails when ten thousand cases were all refused or all read: then the damage tests nothing. */
export function assertBothOutcomes(read: number, refused: number): void {
  assert.ok(read > 100 && refused > 1000, `${read} read, ${refused} refused`);
}
