// A browser without a window, to look at pages: for tests, and for the static pictures of figures.
import { type Browser, chromium } from "playwright-core"; // drives the Chromium that is there; downloads none
import { findProgram } from "./process.ts";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
/** No sandbox, since containers run as root; nothing that asks the network. */
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Where this machine's Chromium lies; null without one. */
export function findBrowser(): Promise<string | null> {
  return findProgram(NAMES);
}

/** Starts it. @param path as `findBrowser` gave it. */
export function openBrowser(path: string): Promise<Browser> {
  return chromium.launch({ executablePath: path, args: ARGUMENTS });
}
