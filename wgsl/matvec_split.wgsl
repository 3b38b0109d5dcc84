// y = x·Ŵᵀ for GPUs: 64 lanes share 4 rows, each takes every 64th block of 32 columns, and one reduction ends it
// (lib/kernels/matvec_split.ts). Codes lie row by row as they are stored, so that products with many vectors read them too.
//
// A lane decodes 4 rows at a time: x, which every workgroup reads, then costs a quarter. Nothing here needs subgroups
// (Deno 2.9 has none) or shader-f16: halves come by unpack2x16float, sums are float32.

override bits: u32 = 3; // of a code: 2, 3, 4, 8
override vectors: u32 = 1; // 1, 2, 4 or 8
override grouped: u32 = 0; // 0: one grid a row; 1: one for each block of 32 columns; 2: one for each column
override weak_bits: u32 = 16;

struct Params {
  rows: u32,
  blocks: u32, // of 32 columns
  words: u32, // of codes, from row to row; quads or pairs of quads of a dense matrix
  groups: u32,
  weak: u32, // weak columns
  x_quads: u32, // from vector to vector
  vector: u32, // the first
  all_rows: u32, // of y, where the buffers hold only some
  first_row: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<u32>; // (rows, words)
@group(0) @binding(2) var<storage, read> grids: array<vec2f>; // scale and zero: (rows, groups)
// Of each block: which columns are weak or none at all, by bit; and its group. (blocks)
@group(0) @binding(3) var<storage, read> blocks: array<vec2u>;
@group(0) @binding(4) var<storage, read> columns: array<i32>; // the group of each column, below 0 at a weak one
@group(0) @binding(5) var<storage, read> weak_ids: array<u32>;
@group(0) @binding(6) var<storage, read> weak: array<u32>; // (rows, weak) floats, or (rows, ceil(weak / 2)) pairs of halves
@group(0) @binding(7) var<storage, read> x: array<vec4f>; // (vectors, x_quads)
@group(0) @binding(8) var<storage, read_write> y: array<f32>; // (vectors, all_rows)

// Sums of 4 rows for each vector.
var<private> a0: vec4f; var<private> a1: vec4f; var<private> a2: vec4f; var<private> a3: vec4f;
var<private> a4: vec4f; var<private> a5: vec4f; var<private> a6: vec4f; var<private> a7: vec4f;

fn x_at(vector: u32, quad: u32) -> vec4f {
  return x[(p.vector + vector) * p.x_quads + quad];
}

// 4 rows (columns of d) of a quad of columns, for every vector.
fn multiply(d: mat4x4f, quad: u32, none: vec4<bool>) {
  let zero = vec4f(0);
  a0 += select(x_at(0, quad), zero, none) * d;
  if (vectors > 1) { a1 += select(x_at(1, quad), zero, none) * d; }
  if (vectors > 2) { a2 += select(x_at(2, quad), zero, none) * d; a3 += select(x_at(3, quad), zero, none) * d; }
  if (vectors > 4) {
    a4 += select(x_at(4, quad), zero, none) * d; a5 += select(x_at(5, quad), zero, none) * d;
    a6 += select(x_at(6, quad), zero, none) * d; a7 += select(x_at(7, quad), zero, none) * d;
  }
}

// A block of codes as 8 words whose low bits are 4 codes each.
fn windows(at: u32) -> array<u32, 8> {
  let a = codes[at];
  if (bits == 2) {
    let b = codes[at + 1];
    return array(a, a >> 8, a >> 16, a >> 24, b, b >> 8, b >> 16, b >> 24);
  }
  if (bits == 3) {
    let b = codes[at + 1];
    let c = codes[at + 2];
    return array(a, a >> 12, (a >> 24) | (b << 8), b >> 4, b >> 16, (b >> 28) | (c << 4), c >> 8, c >> 20);
  }
  if (bits == 4) {
    let b = codes[at + 1];
    let c = codes[at + 2];
    let d = codes[at + 3];
    return array(a, a >> 16, b, b >> 16, c, c >> 16, d, d >> 16);
  }
  return array(a, codes[at + 1], codes[at + 2], codes[at + 3], codes[at + 4], codes[at + 5], codes[at + 6], codes[at + 7]);
}

fn four(window: u32) -> vec4f {
  return vec4f((vec4u(window) >> (vec4u(0, 1, 2, 3) * bits)) & vec4u((1u << bits) - 1));
}

// A quad of one row with its own grid for every column.
fn each_grid(row: u32, window: u32, column: u32) -> vec4f {
  let c = four(window);
  let at = row * p.groups;
  let g0 = grids[at + u32(max(columns[column], 0))];
  let g1 = grids[at + u32(max(columns[column + 1], 0))];
  let g2 = grids[at + u32(max(columns[column + 2], 0))];
  let g3 = grids[at + u32(max(columns[column + 3], 0))];
  return vec4f(g0.x * (c.x - g0.y), g1.x * (c.y - g1.y), g2.x * (c.z - g2.y), g3.x * (c.w - g3.y));
}

// Quad i of a block: w are the windows of 4 rows.
fn quad_of(i: u32, block: u32, mask: u32, w: vec4u, rows: vec4u, scale: vec4f, zero: vec4f) {
  let none = ((vec4u(mask >> (4 * i)) >> vec4u(0, 1, 2, 3)) & vec4u(1)) == vec4u(1);
  let quad = block * 8 + i;
  if (grouped == 2) {
    let c = quad * 4;
    multiply(mat4x4f(each_grid(rows.x, w.x, c), each_grid(rows.y, w.y, c), each_grid(rows.z, w.z, c), each_grid(rows.w, w.w, c)), quad, none);
    return;
  }
  var d = mat4x4f(four(w.x) - zero.x, four(w.y) - zero.y, four(w.z) - zero.z, four(w.w) - zero.w);
  if (grouped == 1) { d = mat4x4f(d[0] * scale.x, d[1] * scale.y, d[2] * scale.z, d[3] * scale.w); }
  multiply(d, quad, none);
}

fn weak_value(row: u32, i: u32) -> f32 {
  if (weak_bits == 32) { return bitcast<f32>(weak[row * p.weak + i]); }
  let pair = unpack2x16float(weak[row * ((p.weak + 1) / 2) + i / 2]);
  return select(pair.x, pair.y, (i & 1) == 1);
}

var<workgroup> shared_sums: array<vec4f, 64>;

fn reduce(vector: u32, sum: vec4f, lane: u32, row: u32) {
  shared_sums[lane] = sum;
  workgroupBarrier();
  if (lane < 32) { shared_sums[lane] += shared_sums[lane + 32]; }
  workgroupBarrier();
  if (lane < 16) { shared_sums[lane] += shared_sums[lane + 16]; }
  workgroupBarrier();
  if (lane < 8) { shared_sums[lane] += shared_sums[lane + 8]; }
  workgroupBarrier();
  if (lane < 4) { shared_sums[lane] += shared_sums[lane + 4]; }
  workgroupBarrier();
  if (lane < 4 && row + lane < p.rows) {
    let total = (shared_sums[0] + shared_sums[1]) + (shared_sums[2] + shared_sums[3]);
    y[(p.vector + vector) * p.all_rows + p.first_row + row + lane] = total[lane];
  }
  workgroupBarrier();
}

fn reduce_all(lane: u32, row: u32) {
  reduce(0, a0, lane, row);
  if (vectors > 1) { reduce(1, a1, lane, row); }
  if (vectors > 2) { reduce(2, a2, lane, row); reduce(3, a3, lane, row); }
  if (vectors > 4) { reduce(4, a4, lane, row); reduce(5, a5, lane, row); reduce(6, a6, lane, row); reduce(7, a7, lane, row); }
}

@compute @workgroup_size(64)
fn packed(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = (group.x + group.y * count.x) * 4;
  let rows = min(vec4u(row) + vec4u(0, 1, 2, 3), vec4u(p.rows - 1)); // beyond the last: the last again, not stored
  let at = rows * p.words;
  var scale = vec4f(1);
  var zero = vec4f(0);
  if (grouped == 0) {
    let g0 = grids[rows.x]; let g1 = grids[rows.y]; let g2 = grids[rows.z]; let g3 = grids[rows.w];
    scale = vec4f(g0.x, g1.x, g2.x, g3.x);
    zero = vec4f(g0.y, g1.y, g2.y, g3.y);
  }
  for (var b = lane; b < p.blocks; b += 64) {
    let block = blocks[b];
    if (grouped == 1) {
      let g = rows * p.groups + block.y;
      let g0 = grids[g.x]; let g1 = grids[g.y]; let g2 = grids[g.z]; let g3 = grids[g.w];
      scale = vec4f(g0.x, g1.x, g2.x, g3.x);
      zero = vec4f(g0.y, g1.y, g2.y, g3.y);
    }
    let first = b * bits;
    let w0 = windows(at.x + first);
    let w1 = windows(at.y + first);
    let w2 = windows(at.z + first);
    let w3 = windows(at.w + first);
    quad_of(0, b, block.x, vec4u(w0[0], w1[0], w2[0], w3[0]), rows, scale, zero);
    quad_of(1, b, block.x, vec4u(w0[1], w1[1], w2[1], w3[1]), rows, scale, zero);
    quad_of(2, b, block.x, vec4u(w0[2], w1[2], w2[2], w3[2]), rows, scale, zero);
    quad_of(3, b, block.x, vec4u(w0[3], w1[3], w2[3], w3[3]), rows, scale, zero);
    quad_of(4, b, block.x, vec4u(w0[4], w1[4], w2[4], w3[4]), rows, scale, zero);
    quad_of(5, b, block.x, vec4u(w0[5], w1[5], w2[5], w3[5]), rows, scale, zero);
    quad_of(6, b, block.x, vec4u(w0[6], w1[6], w2[6], w3[6]), rows, scale, zero);
    quad_of(7, b, block.x, vec4u(w0[7], w1[7], w2[7], w3[7]), rows, scale, zero);
  }
  if (grouped == 0) {
    a0 *= scale; a1 *= scale; a2 *= scale; a3 *= scale; a4 *= scale; a5 *= scale; a6 *= scale; a7 *= scale;
  }
  for (var i = lane; i < p.weak; i += 64) {
    let c = weak_ids[i];
    let w = vec4f(weak_value(rows.x, i), weak_value(rows.y, i), weak_value(rows.z, i), weak_value(rows.w, i));
    a0 += w * x_at(0, c / 4)[c & 3];
    if (vectors > 1) { a1 += w * x_at(1, c / 4)[c & 3]; }
    if (vectors > 2) { a2 += w * x_at(2, c / 4)[c & 3]; a3 += w * x_at(3, c / 4)[c & 3]; }
    if (vectors > 4) {
      a4 += w * x_at(4, c / 4)[c & 3]; a5 += w * x_at(5, c / 4)[c & 3];
      a6 += w * x_at(6, c / 4)[c & 3]; a7 += w * x_at(7, c / 4)[c & 3];
    }
  }
  reduce_all(lane, row);
}

@group(0) @binding(9) var<storage, read> dense: array<vec4f>; // (rows, words) quads
// Two quads, the lower half of a word first: (rows, words).
@group(0) @binding(10) var<storage, read> halves: array<vec4u>;

// Float32 weights: `blocks` counts quads, `words` too.
@compute @workgroup_size(64)
fn dense32(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = (group.x + group.y * count.x) * 4;
  let at = min(vec4u(row) + vec4u(0, 1, 2, 3), vec4u(p.rows - 1)) * p.words;
  for (var b = lane; b < p.blocks; b += 64) {
    multiply(mat4x4f(dense[at.x + b], dense[at.y + b], dense[at.z + b], dense[at.w + b]), b, vec4<bool>(false));
  }
  reduce_all(lane, row);
}

fn lower(w: vec4u) -> vec4f {
  return vec4f(unpack2x16float(w.x), unpack2x16float(w.y));
}

fn upper(w: vec4u) -> vec4f {
  return vec4f(unpack2x16float(w.z), unpack2x16float(w.w));
}

// Weights in 16 bits: `blocks` counts quads, `words` pairs of quads.
@compute @workgroup_size(64)
fn dense16(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) lane: u32) {
  let row = (group.x + group.y * count.x) * 4;
  let at = min(vec4u(row) + vec4u(0, 1, 2, 3), vec4u(p.rows - 1)) * p.words;
  for (var b = lane; b < p.words; b += 64) {
    let h0 = halves[at.x + b]; let h1 = halves[at.y + b]; let h2 = halves[at.z + b]; let h3 = halves[at.w + b];
    multiply(mat4x4f(lower(h0), lower(h1), lower(h2), lower(h3)), 2 * b, vec4<bool>(false));
    if (2 * b + 1 < p.blocks) {
      multiply(mat4x4f(upper(h0), upper(h1), upper(h2), upper(h3)), 2 * b + 1, vec4<bool>(false));
    }
  }
  reduce_all(lane, row);
}

@group(0) @binding(11) var<storage, read_write> wide: array<f32>;

// Weak columns as float32, for products with many vectors: (rows, weak).
@compute @workgroup_size(64)
fn widen(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) lane: u32) {
  let i = (group.x + group.y * count.x) * 64 + lane;
  if (i < p.rows * p.weak) { wide[i] = weak_value(i / p.weak, i % p.weak); }
}
