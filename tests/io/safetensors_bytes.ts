// Safetensors files by hand: a header's text and the bytes after it.

/** The bytes of a file whose header is `json` and whose tensors' bytes are `data`. */
export function safetensorsBytes(json: string, data: ArrayLike<number> = []): Uint8Array<ArrayBuffer> {
  const header = new TextEncoder().encode(json), bytes = new Uint8Array(8 + header.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
  bytes.set(header, 8);
  bytes.set(data, 8 + header.length);
  return bytes;
}
