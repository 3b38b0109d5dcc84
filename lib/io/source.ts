// What a file of weights looks like to everybody above lib/io, whatever its format.
import type { Tensor } from "./tensor.ts";

/** One tensor as its file declares it. */
export interface TensorInfo {
  readonly name: string;
  /** The format's own word: "F32", "BF16", "Q4_1", … */
  readonly dtype: string;
  /** Row-major, slowest dimension first: a linear is (out, in). */
  readonly shape: readonly number[];
  /** Bytes in the file. */
  readonly bytes: number;
}

/** A safetensors file, a folder of shards or a GGUF file: one tensor at a time, by name. */
export interface TensorSource {
  /** The file's or folder's name, for messages. */
  readonly label: string;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The tensor as float32, converted or dequantized. Throws LabError("format") where there is none of that name. */
  read(name: string): Promise<Tensor>;
  /** The tensor's bytes as they lie in the file. */
  readBytes(name: string): Promise<Uint8Array<ArrayBuffer>>;
  /** SHA-256 of the file (of several: of their names and sums), in hexadecimal; computed once. */
  sha256(): Promise<string>;
  close(): void;
}
