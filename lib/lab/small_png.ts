// Pictures of figures with a palette: a fifth of the bytes, and nothing that an eye sees is lost.
import { decode, encode, type IndexedColors } from "fast-png"; // PNG files, palettes included

/** Five bits a channel: smoothed edges of letters have thousands of shades, figures a dozen colours. */
const SHADES = 0xf8;

/**
 * The same picture with at most 256 colours; those of most pixels are kept to within 7 of 255 a channel, the rest become the
 * nearest of them.
 *
 * @param png a PNG file of 8 bits a channel, (height, width) pixels. What is transparent is taken as opaque.
 * @returns a PNG file with a palette.
 * @throws Error where `png` is not such a file.
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { decode, encode } from "fast-png";
 * import { smallPng } from "./small_png.ts";
 * const red = encode({ width: 2, height: 1, data: Uint8Array.of(255, 0, 0, 255, 0, 0, 255, 255), channels: 4 });
 * assert.deepEqual(decode(smallPng(red)).palette, [[255, 0, 0], [0, 0, 255]]);
 * ```
 */
export function smallPng(png: Uint8Array): Uint8Array {
  const { width, height, data, channels, depth } = decode(png);
  if (depth !== 8 || channels < 3) throw new Error(`a PNG of ${channels} channels of ${depth} bits`);
  const keys = new Uint32Array(width * height), counts = new Map<number, number>();
  for (let i = 0; i < keys.length; i++) {
    const [r, g, b] = data.subarray(i * channels, i * channels + 3),
      key = (r & SHADES) << 16 | (g & SHADES) << 8 | b & SHADES;
    keys[i] = key;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const palette = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 256).map(([key]) => colour(key));
  const places = new Map<number, number>();
  const indices = Uint8Array.from(keys, (key) => {
    const place = places.get(key) ?? nearest(palette, colour(key));
    places.set(key, place);
    return place;
  });
  return encode({ width, height, data: indices, channels: 1, depth: 8, palette }, { zlib: { level: 9 } });
}

type Colour = [number, number, number];

/** Five bits spread over 0 … 255. */
const colour = (key: number): Colour => [key >> 16, key >> 8 & 255, key & 255].map((v) => v | v >> 5) as Colour;

function nearest(palette: IndexedColors, c: Colour): number {
  let best = 0, least = Infinity;
  for (const [i, p] of palette.entries()) {
    const distance = (p[0] - c[0]) ** 2 + (p[1] - c[1]) ** 2 + (p[2] - c[2]) ** 2;
    if (distance < least) [best, least] = [i, distance];
  }
  return best;
}
