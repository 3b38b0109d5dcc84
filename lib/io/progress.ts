// How long work tells how far it is. A type only: showing it is the business of lib/lab.

/** One report of a long job; `total` is 0 where the end is not known. */
export interface Progress {
  /** What is being done, for people: "downloading model.safetensors". */
  readonly what: string;
  readonly done: number;
  readonly total: number;
  /** What `done` and `total` count: "bytes", "windows", "blocks". */
  readonly unit: string;
}

/** Receives reports; called often, so it must be quick and must not throw. */
export type OnProgress = (p: Progress) => void;
