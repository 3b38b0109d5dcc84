// Static pictures of a page's figures, as a browser draws them: for readers where plotly does not run.
import { LabError } from "../io/errors.ts";
import { findBrowser, openBrowser } from "./browser.ts";
import { smallPng } from "./small_png.ts";

/** Wide enough for a legend beside the axes, at a quarter more pixels. */
const WIDTH = 760, SCALE = 1.25;

/** Runs in the page: each figure drawn anew at one size, as base64. */
const DRAW = `(async () => {
  const out = [];
  for (const place of document.querySelectorAll(".plot, .failed-figure")) {
    if (!place.classList.contains("js-plotly-plot")) { out.push(""); continue; }
    const height = place.layout.height ?? 400;
    const url = await Plotly.toImage(place, { format: "png", width: ${WIDTH}, height, scale: ${SCALE} });
    out.push(url.slice(url.indexOf(",") + 1));
  }
  return out;
})()`;

/**
 * Draws the figures of a page.
 *
 * @param page a file that `renderPage` made.
 * @returns one PNG a figure, in base64, in the page's order: 760 pixels wide, at a quarter more pixels, with a palette.
 * @throws LabError "input" without a Chromium, "format" where a figure was not drawn.
 */
export async function figurePictures(page: string): Promise<string[]> {
  const path = await findBrowser();
  if (path === null) {
    throw new LabError(
      "input",
      "chromium",
      "is not there to draw figures",
      "Install it, such as `apt-get install chromium`.",
    );
  }
  const browser = await openBrowser(path);
  try {
    const view = await browser.newPage({ viewport: { width: 1000, height: 800 } });
    await view.goto(`file://${page}`);
    await view.waitForFunction(
      `[...document.querySelectorAll(".plot")].every((p) => p.classList.contains("js-plotly-plot"))`,
    );
    const pictures = await view.evaluate<string[]>(DRAW), missing = pictures.indexOf("");
    if (missing >= 0) {
      throw new LabError("format", page, `figure ${missing + 1} is not drawn`, "Open the page: it says why.");
    }
    return pictures.map((p) => smallPng(Uint8Array.fromBase64(p)).toBase64());
  } finally {
    await browser.close();
  }
}
