// ŵ = scale · (code − zero), and the weak columns over it: rows of a packed matrix as floats (lib/kernels/dequantize.ts).
//
// A lane takes eight columns of one row: with codes of 2, 3 and 4 bits those lie in two neighbouring words at most.

override BITS: u32 = 3;
override GROUPED: bool = false; // a grid a group of columns; otherwise one a row

struct Params {
  first: u32, // the first row; it goes to row 0 of `out`
  rows: u32,
  cols: u32,
  row_stride: u32, // of codes: from row to row
  word_stride: u32, // from word to word
  groups: u32, // grids a row
  weak: u32, // weak columns
  out_stride: u32, // of `out`: from row to row, a multiple of eight
  weak_row_stride: u32, // of weak columns: from row to row
  weak_stride: u32, // from one of a row to the next
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(2) var<storage, read> grids: array<vec2f>; // scale and zero: (rows, groups)
@group(0) @binding(3) var<storage, read> columns: array<i32>; // (cols, to a multiple of eight) group, or below 0: weak
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>; // columns beyond the last are zero

fn word(row: u32, at: u32) -> u32 {
  return codes[row * p.row_stride + at * p.word_stride];
}

// Eight codes of a row from a multiple of eight on; what they need lies in the low bits.
fn octet(row: u32, start: u32) -> vec2u {
  let bit = start * BITS;
  let at = bit / 32;
  if (BITS == 8) { return vec2u(word(row, at), word(row, at + 1)); }
  if (BITS == 4) { return vec2u(word(row, at), word(row, at) >> 16); }
  let shift = bit % 32;
  var bits = word(row, at) >> shift;
  if (BITS == 3) { bits |= select(0u, word(row, at + 1) << (32 - shift), shift > 8); }
  return vec2u(bits, bits >> (4 * BITS % 32));
}

// Scales and zeros of four columns, a row each.
fn grid_quad(row: u32, start: u32) -> mat4x2f {
  let at = row * p.groups;
  return mat4x2f(
    grids[at + u32(max(columns[start], 0))],
    grids[at + u32(max(columns[start + 1], 0))],
    grids[at + u32(max(columns[start + 2], 0))],
    grids[at + u32(max(columns[start + 3], 0))],
  );
}

fn quad(row: u32, start: u32, bits: u32, flat: vec2f) -> vec4f {
  let code = vec4f((vec4u(bits) >> vec4u(0, BITS, 2 * BITS, 3 * BITS)) & vec4u((1u << BITS) - 1));
  if (!GROUPED) { return flat.x * (code - flat.y); }
  let own = transpose(grid_quad(row, start));
  return own[0] * (code - own[1]);
}

@compute @workgroup_size(64)
fn unpack(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = (group.x + group.y * groups.x) * 64 + local;
  let octets = p.out_stride / 8;
  let r = lane / octets;
  if (r >= p.rows) { return; }
  let row = p.first + r;
  let start = lane % octets * 8;
  let bits = octet(row, start);
  var flat = vec2f();
  if (!GROUPED) { flat = grids[row]; }
  var a = quad(row, start, bits.x, flat);
  var b = quad(row, start + 4, bits.y, flat);
  if (start + 8 > p.cols) {
    let left = vec4u(p.cols - start);
    a = select(vec4f(), a, vec4u(0, 1, 2, 3) < left);
    b = select(vec4f(), b, vec4u(4, 5, 6, 7) < left);
  }
  out[2 * lane] = a;
  out[2 * lane + 1] = b;
}

@group(0) @binding(2) var<storage, read> weak_ids: array<u32>;
@group(0) @binding(3) var<storage, read> weak: array<f32>;
@group(0) @binding(4) var<storage, read_write> values: array<f32>; // `out`, one by one

// Puts the weak columns over what `unpack` left at their places.
@compute @workgroup_size(64)
fn place_weak(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = (group.x + group.y * groups.x) * 64 + local;
  let r = lane / p.weak;
  if (r >= p.rows) { return; }
  values[r * p.out_stride + weak_ids[lane % p.weak]] = weak[(p.first + r) * p.weak_row_stride + lane % p.weak * p.weak_stride];
}
