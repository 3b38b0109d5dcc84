// Packing is specified where its kernel is; here is the door for the mathematics and the files.
export { packDense, packRows, unpackDense, unpackRows } from "../kernels/pack.ts";
