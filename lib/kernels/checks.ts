// What every kernel refuses before it starts, on the GPU and in the twins alike: a shader would take NaN for a legal code.
import { LabError } from "../io/errors.ts";
import type { Floats, Matrix } from "../io/tensor.ts";
import type { SearchOptions, SweepProblem } from "./kernels.ts";

/** The columns that count, and everything that must hold of a weight and its options. */
export function checkSearch(
  w: Matrix,
  o: Pick<SearchOptions, "bits" | "symmetric" | "columns"> & Partial<SearchOptions>,
): { start: number; count: number } {
  checkBits(o.bits);
  if (o.steps !== undefined && !(Number.isInteger(o.steps) && o.steps >= 1 && o.steps <= 4096)) {
    throw new LabError("input", "grid search", `steps = ${o.steps} is not a whole number from 1 to 4096`, "Take 100.");
  }
  if (o.exponent !== undefined && o.exponent !== 2.4) {
    throw new LabError("input", "grid search", `the exponent ${o.exponent} is not 2.4`, "The kernels know no other.");
  }
  checkMatrix(w);
  const columns = o.columns ?? { start: 0, count: w.cols };
  const { start, count } = columns;
  if (!(Number.isInteger(start) && Number.isInteger(count) && start >= 0 && count >= 1 && start + count <= w.cols)) {
    throw new LabError(
      "input",
      "grid search",
      `columns ${start} … ${start + count - 1} do not lie within 0 … ${w.cols - 1}`,
      "Give a start and a count of at least 1.",
    );
  }
  checkFinite(w.data, w.cols, "weight");
  return columns;
}

/** Everything that must hold of a sweep before a number is touched. */
export function checkSweep(p: SweepProblem): void {
  checkBits(p.bits);
  checkMatrix(p.weight);
  const { rows, cols } = p.weight;
  if (p.feedback.length !== cols * cols) {
    throw new LabError(
      "input",
      "OPTQ sweep",
      `the feedback matrix has ${p.feedback.length} values where ${cols} columns need ${cols * cols}`,
      "Give M as (cols, cols), row-major.",
    );
  }
  const whole = (name: string, value: number, low: number, high: number) => {
    if (Number.isInteger(value) && value >= low && value <= high) return;
    throw new LabError("input", "OPTQ sweep", `${name} = ${value} is not a whole number from ${low} to ${high}`, "");
  };
  whole("quantized", p.quantized, 0, cols);
  whole("groupSize", p.groupSize, 0, Number.MAX_SAFE_INTEGER);
  if (p.scaleBits !== 16 && p.scaleBits !== 32) whole("scaleBits", p.scaleBits, 16, 16);
  whole("blockSize", p.blockSize, 1, Number.MAX_SAFE_INTEGER);
  if (p.groupSize === 0) {
    if (p.grid === null) throw new LabError("input", "OPTQ sweep", "there is no grid and no group size", "Give one.");
    for (const [name, values] of [["scales", p.grid.scale], ["zeros", p.grid.zero]] as const) {
      if (values.length !== rows) {
        throw new LabError("input", "OPTQ sweep", `${values.length} ${name} for ${rows} rows`, "Give one a row.");
      }
      checkFinite(values, 1, name);
    }
    for (let r = 0; r < rows; r++) {
      if (p.grid.scale[r] > 0) continue;
      throw new LabError("input", "OPTQ sweep", `the scale of row ${r} is ${p.grid.scale[r]}`, "Scales are above 0.");
    }
  } else if (p.search === null) {
    throw new LabError(
      "input",
      "OPTQ sweep",
      "groups need a way to choose their grids",
      'Give search = {tuning: "mse"…}.',
    );
  } else whole("search.steps", p.search.steps, 1, 4096);
  checkFinite(p.weight.data, cols, "weight");
  checkFinite(p.feedback, cols, "feedback matrix");
}

function checkBits(bits: number): void {
  if (Number.isInteger(bits) && bits >= 1 && bits <= 8) return;
  throw new LabError("input", "quantization", `${bits} bits is not a whole number from 1 to 8`, "Try 3 or 4.");
}

function checkMatrix(w: Matrix): void {
  if (w.rows >= 1 && w.cols >= 1 && w.data.length === w.rows * w.cols) return;
  throw new LabError(
    "input",
    "weight",
    `${w.data.length} values do not make a matrix of ${w.rows} × ${w.cols}`,
    "Rows and columns are at least 1.",
  );
}

function checkFinite(values: Floats, cols: number, what: string): void {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * 0; // NaN and infinity both make it NaN
  if (sum === 0) return;
  for (let i = 0; i < values.length; i++) {
    const x = values[i];
    if (Number.isFinite(x)) continue;
    throw new LabError(
      "numeric",
      what,
      `${x} at (${Math.floor(i / cols)}, ${i % cols})`,
      "The file may be damaged, or the calibration overflowed.",
    );
  }
}
