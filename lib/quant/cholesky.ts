// The one factorization of OPTQ, where the mathematics looks for it; it lives beside its kernel.
export {
  type CholeskyResult,
  feedbackOf,
  reverseCholesky,
  upperAt,
  type UpperFactor,
} from "../kernels/upper_factor.ts";
