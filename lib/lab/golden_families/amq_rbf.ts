// AMQ's predictor: pySOT's cubic surface with a linear tail, in double on both sides.
import { LabError } from "../../io/errors.ts";
import { fitSurface } from "../amq/rbf.ts";
import { Checks, type GoldenCase, type GoldenFamily } from "../golden_check.ts";

/** Coefficients, predictions at the archive and at new points. */
export const AMQ_RBF_GOLDEN: GoldenFamily = { names: ["amq-rbf"], replay };

async function replay(golden: GoldenCase) {
  const checks = new Checks();
  for (const [key, known] of [["kernel", "cubic"], ["tail", "linear"]]) {
    const text = golden.text(key);
    if (text && !text.startsWith(known)) {
      throw new LabError("input", golden.label, `the ${key} ${text} is unknown here`, `It knows ${known}.`);
    }
  }
  const rows = (name: string) => {
    const { data, shape: [n, dim] } = golden.file.readInts(name);
    return Array.from({ length: n }, (_, i) => data.slice(i * dim, (i + 1) * dim));
  };
  const archive = rows("archive"), json = (key: string) => JSON.parse(golden.text(key)) as number | number[];
  const surface = fitSurface(archive, await golden.floats("target"), {
    lower: json("lb"),
    upper: json("ub"),
    eta: golden.number("eta"),
  });
  checks.close("coefficients", surface.coefficients, await golden.floats("coefficients"), 1e-4);
  const at = (points: typeof archive) => points.map((p) => surface.predict(p));
  checks.close("at the archive", at(archive), await golden.floats("predicted_archive"), 1e-5);
  checks.close("at new points", at(rows("query")), await golden.floats("predicted"), 1e-5);
  return checks.list;
}
