// Codes to dense words and back, each row one least-significant-bit-first stream that begins on a word (lib/kernels/pack.ts).

struct Params {
  first: u32, // workgroups of this submission: first … end − 1
  end: u32,
  rows: u32,
  cols: u32,
  words: u32, // of a row
  bits: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> source: array<u32>; // codes a byte each, (rows · cols); or words (rows, words)
@group(0) @binding(2) var<storage, read_write> result: array<u32>; // the other of the two

fn byte_at(i: u32) -> u32 {
  return (source[i / 4] >> (i % 4 * 8)) & 255;
}

// A lane makes a word: every code of which a bit lies in it.
@compute @workgroup_size(64)
fn pack(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = p.first + group.x + group.y * groups.x;
  let lane = number * 64 + local;
  if (number >= p.end || lane >= p.rows * p.words) { return; }
  let row = lane / p.words;
  let begin = lane % p.words * 32;
  let end = min((begin + 31 + p.bits) / p.bits, p.cols); // codes begin before this bit
  var word = 0u;
  for (var c = begin / p.bits; c < end; c++) {
    let code = byte_at(row * p.cols + c);
    let bit = c * p.bits;
    if (bit >= begin + 32) { break; }
    if (bit >= begin) { word |= code << (bit - begin); }
    else { word |= code >> (begin - bit); }
  }
  result[lane] = word;
}

fn code_at(i: u32) -> u32 {
  let row = i / p.cols;
  let bit = i % p.cols * p.bits;
  let at = row * p.words + bit / 32;
  let shift = bit % 32;
  var code = source[at] >> shift;
  if (shift + p.bits > 32) { code |= source[at + 1] << (32 - shift); }
  return code & ((1u << p.bits) - 1);
}

// A lane makes four bytes, which may belong to several rows.
@compute @workgroup_size(64)
fn unpack(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = p.first + group.x + group.y * groups.x;
  let lane = number * 64 + local;
  let count = p.rows * p.cols;
  if (number >= p.end || lane * 4 >= count) { return; }
  var bytes = 0u;
  for (var i = 0u; i < 4; i++) {
    if (lane * 4 + i < count) { bytes |= code_at(lane * 4 + i) << (8 * i); }
  }
  result[lane] = bytes;
}
