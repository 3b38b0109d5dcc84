// y = x·Wᵀ for many vectors, W dense in f32 or f16 (lib/kernels/matmul.ts).
//
// `wide` is for drivers that run shaders on a CPU: there a barrier is dear and a load costs as much as twenty products, so a
// lane takes 16 vectors times 8 rows by itself. `tiled` is for GPUs: 64 vectors times 64 rows a workgroup, staged in shared
// memory. Both read four columns at a time; W lies as the strides say, rows padded by zeros to whole quads.

struct Params {
  vectors: u32,
  rows: u32, // of this part of W
  quads: u32, // columns / 4, rounded up
  row_stride: u32, // from row to row of W: in quads, or in pairs of quads where they are halves
  quad_stride: u32, // from quad to quad, or from pair to pair
  y_rows: u32, // rows of all parts: the stride of y
  y_first: u32, // where this part's rows begin in y
  cols: u32,
  v_first: u32, // where these vectors begin in x and y
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>; // (vectors, quads)
@group(0) @binding(2) var<storage, read> weights: array<vec4f>;
@group(0) @binding(2) var<storage, read> halves: array<vec4u>; // two quads, the lower half of a word first
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // (vectors, y_rows)

const ZERO = vec4f(0);

fn low(h: vec4u) -> vec4f { return vec4f(unpack2x16float(h.x), unpack2x16float(h.y)); }
fn high(h: vec4u) -> vec4f { return vec4f(unpack2x16float(h.z), unpack2x16float(h.w)); }

// Where four vectors begin. Beyond the last one it is read again; `put` drops what comes of it.
fn at_x(v: u32) -> vec4u {
  return min(vec4u(v, v + 1, v + 2, v + 3), vec4u(p.vectors - 1)) * p.quads;
}

fn at_w(r: u32) -> vec4u {
  return min(vec4u(r, r + 1, r + 2, r + 3), vec4u(p.rows - 1)) * p.row_stride;
}

// Four vectors of one quad, transposed, so that times four rows of W it gives their sixteen products.
fn x_tile(at: vec4u) -> mat4x4f {
  return transpose(mat4x4f(x[at.x], x[at.y], x[at.z], x[at.w]));
}

fn w_tile(at: vec4u) -> mat4x4f {
  return mat4x4f(weights[at.x], weights[at.y], weights[at.z], weights[at.w]);
}

fn h_tile(at: vec4u) -> array<vec4u, 4> {
  return array<vec4u, 4>(halves[at.x], halves[at.y], halves[at.z], halves[at.w]);
}

// Column k of s is row r + k of W, its components are vectors.
fn put(v: u32, r: u32, s: mat4x4f) {
  for (var k = 0u; k < 4; k++) {
    if (r + k >= p.rows) { return; }
    let at = (p.v_first + v) * p.y_rows + p.y_first + r + k;
    let column = s[k];
    if (v < p.vectors) { y[at] = column.x; }
    if (v + 1 < p.vectors) { y[at + p.y_rows] = column.y; }
    if (v + 2 < p.vectors) { y[at + 2 * p.y_rows] = column.z; }
    if (v + 3 < p.vectors) { y[at + 3 * p.y_rows] = column.w; }
  }
}

// A workgroup takes 64 vectors times 64 rows, 16 columns a round; a lane brings 4 × 4 of each and takes 8 × 8 products.
var<workgroup> xs: array<vec4f, 256>; // (column, quad of vectors)
var<workgroup> ws: array<vec4f, 256>; // (column, quad of rows)

struct Sums { s00: mat4x4f, s01: mat4x4f, s10: mat4x4f, s11: mat4x4f }

fn outer(x: vec4f, w: vec4f) -> mat4x4f {
  return mat4x4f(x * w.x, x * w.y, x * w.z, x * w.w);
}

// One round: x4 and w4 are what this lane brings, a column each.
fn multiply_round(local: u32, x4: mat4x4f, w4: mat4x4f, s: ptr<function, Sums>) {
  let to = local % 4 * 64 + local / 4;
  workgroupBarrier();
  xs[to] = x4[0]; xs[to + 16] = x4[1]; xs[to + 32] = x4[2]; xs[to + 48] = x4[3];
  ws[to] = w4[0]; ws[to + 16] = w4[1]; ws[to + 32] = w4[2]; ws[to + 48] = w4[3];
  workgroupBarrier();
  let of_w = local % 8 * 2;
  let of_x = local / 8 * 2;
  for (var c = 0u; c < 256; c += 16) {
    let x0 = xs[c + of_x]; let x1 = xs[c + of_x + 1];
    let w0 = ws[c + of_w]; let w1 = ws[c + of_w + 1];
    (*s).s00 += outer(x0, w0); (*s).s01 += outer(x0, w1);
    (*s).s10 += outer(x1, w0); (*s).s11 += outer(x1, w1);
  }
}

fn put_all(v: u32, r: u32, local: u32, s: ptr<function, Sums>) {
  let to_v = v + local / 8 * 8;
  let to_r = r + local % 8 * 8;
  put(to_v, to_r, (*s).s00); put(to_v, to_r + 4, (*s).s01);
  put(to_v + 4, to_r, (*s).s10); put(to_v + 4, to_r + 4, (*s).s11);
}

@compute @workgroup_size(64)
fn tiled(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = group.x + group.y * groups.x;
  let tiles = (p.rows + 63) / 64;
  let r = number % tiles * 64;
  let v = number / tiles * 64;
  if (v >= p.vectors) { return; }
  let a = at_x(v + local / 4 * 4);
  let b = at_w(r + local / 4 * 4);
  var s: Sums;
  for (var first = 0u; first < p.quads; first += 4) {
    let k = first + local % 4;
    var x4 = mat4x4f(); // said out loud: a driver of ours does not clear it in the second round
    var w4 = mat4x4f();
    if (k < p.quads) {
      x4 = x_tile(a + k);
      w4 = transpose(w_tile(b + k * p.quad_stride));
    }
    multiply_round(local, x4, w4, &s);
  }
  put_all(v, r, local, &s);
}

@compute @workgroup_size(64)
fn tiled_half(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = group.x + group.y * groups.x;
  let tiles = (p.rows + 63) / 64;
  let r = number % tiles * 64;
  let v = number / tiles * 64;
  if (v >= p.vectors) { return; }
  let a = at_x(v + local / 4 * 4);
  let b = at_w(r + local / 4 * 4);
  var s: Sums;
  for (var first = 0u; first < p.quads; first += 4) {
    let k = first + local % 4;
    var x4 = mat4x4f(); // said out loud: a driver of ours does not clear it in the second round
    var w4 = mat4x4f();
    if (k < p.quads) {
      x4 = x_tile(a + k);
      let h = h_tile(b + k / 2 * p.quad_stride);
      if (k % 2 == 0) {
        w4 = transpose(mat4x4f(low(h[0]), low(h[1]), low(h[2]), low(h[3])));
      } else {
        w4 = transpose(mat4x4f(high(h[0]), high(h[1]), high(h[2]), high(h[3])));
      }
    }
    multiply_round(local, x4, w4, &s);
  }
  put_all(v, r, local, &s);
}

@group(0) @binding(1) var<storage, read> loose: array<f32>; // (vectors, cols)
@group(0) @binding(3) var<storage, read_write> padded: array<vec4f>; // (vectors, quads)

// A quad of a vector, zeros behind its last column.
fn loose_quad(v: u32, k: u32) -> vec4f {
  let c = 4 * k;
  let at = v * p.cols + c;
  var quad = vec4f(loose[at], 0, 0, 0);
  if (c + 1 < p.cols) { quad.y = loose[at + 1]; }
  if (c + 2 < p.cols) { quad.z = loose[at + 2]; }
  if (c + 3 < p.cols) { quad.w = loose[at + 3]; }
  return quad;
}

// Rows of x whose length is no multiple of four, each brought to whole quads.
@compute @workgroup_size(64)
fn pad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = (group.x + group.y * groups.x) * 64 + local;
  let v = lane / p.quads;
  if (v < p.vectors) { padded[lane] = loose_quad(v, lane % p.quads); }
}

// The wide form. A texel of a storage texture costs a software driver a quarter of what four floats of a buffer do.
@group(0) @binding(1) var x_texture: texture_storage_2d<rgba32float, read>; // (vectors, quads), in rows of 1024 texels
@group(0) @binding(2) var w_texture: texture_storage_2d<rgba32float, read>; // (rows, quads), likewise
@group(0) @binding(2) var h_texture: texture_storage_2d<rgba32uint, read>; // (rows, pairs of quads)

fn place(n: u32) -> vec2u {
  return vec2u(n & 1023, n >> 10);
}

fn x_texels(at: vec4u) -> mat4x4f {
  return transpose(mat4x4f(
    textureLoad(x_texture, place(at.x)), textureLoad(x_texture, place(at.y)),
    textureLoad(x_texture, place(at.z)), textureLoad(x_texture, place(at.w))));
}

fn w_texels(at: vec4u) -> mat4x4f {
  return mat4x4f(
    textureLoad(w_texture, place(at.x)), textureLoad(w_texture, place(at.y)),
    textureLoad(w_texture, place(at.z)), textureLoad(w_texture, place(at.w)));
}

fn h_texels(at: vec4u) -> array<vec4u, 4> {
  return array<vec4u, 4>(
    textureLoad(h_texture, place(at.x)), textureLoad(h_texture, place(at.y)),
    textureLoad(h_texture, place(at.z)), textureLoad(h_texture, place(at.w)));
}

// A lane takes 16 vectors times 8 rows; 16 rows are no faster and take three times as long to compile.
@compute @workgroup_size(8)
fn wide(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = (group.x + group.y * groups.x) * 8 + local;
  let tiles = (p.rows + 7) / 8;
  let r = lane % tiles * 8;
  let v = lane / tiles * 16;
  if (v >= p.vectors) { return; }
  let a0 = at_x(v);
  let a1 = at_x(v + 4);
  let a2 = at_x(v + 8);
  let a3 = at_x(v + 12);
  let b0 = at_w(r);
  let b1 = at_w(r + 4);
  var s00: mat4x4f; var s01: mat4x4f;
  var s10: mat4x4f; var s11: mat4x4f;
  var s20: mat4x4f; var s21: mat4x4f;
  var s30: mat4x4f; var s31: mat4x4f;
  for (var k = 0u; k < p.quads; k++) {
    let x0 = x_texels(a0 + k); let x1 = x_texels(a1 + k); let x2 = x_texels(a2 + k); let x3 = x_texels(a3 + k);
    let w0 = w_texels(b0 + k); let w1 = w_texels(b1 + k);
    s00 += x0 * w0; s10 += x1 * w0; s20 += x2 * w0; s30 += x3 * w0;
    s01 += x0 * w1; s11 += x1 * w1; s21 += x2 * w1; s31 += x3 * w1;
  }
  put(v + 0, r + 0, s00); put(v + 0, r + 4, s01);
  put(v + 4, r + 0, s10); put(v + 4, r + 4, s11);
  put(v + 8, r + 0, s20); put(v + 8, r + 4, s21);
  put(v + 12, r + 0, s30); put(v + 12, r + 4, s31);
}

// The same with W in a buffer, where the vectors are too few to pay for a copy: to write a texel costs as much as reading
// sixteen quads from a buffer.
@compute @workgroup_size(8)
fn wide_loose(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = (group.x + group.y * groups.x) * 8 + local;
  let tiles = (p.rows + 7) / 8;
  let r = lane % tiles * 8;
  let v = lane / tiles * 16;
  if (v >= p.vectors) { return; }
  let a0 = at_x(v);
  let a1 = at_x(v + 4);
  let a2 = at_x(v + 8);
  let a3 = at_x(v + 12);
  let b0 = at_w(r);
  let b1 = at_w(r + 4);
  var s00: mat4x4f; var s01: mat4x4f;
  var s10: mat4x4f; var s11: mat4x4f;
  var s20: mat4x4f; var s21: mat4x4f;
  var s30: mat4x4f; var s31: mat4x4f;
  for (var k = 0u; k < p.quads; k++) {
    let x0 = x_texels(a0 + k); let x1 = x_texels(a1 + k); let x2 = x_texels(a2 + k); let x3 = x_texels(a3 + k);
    let w0 = w_tile(b0 + k * p.quad_stride); let w1 = w_tile(b1 + k * p.quad_stride);
    s00 += x0 * w0; s10 += x1 * w0; s20 += x2 * w0; s30 += x3 * w0;
    s01 += x0 * w1; s11 += x1 * w1; s21 += x2 * w1; s31 += x3 * w1;
  }
  put(v + 0, r + 0, s00); put(v + 0, r + 4, s01);
  put(v + 4, r + 0, s10); put(v + 4, r + 4, s11);
  put(v + 8, r + 0, s20); put(v + 8, r + 4, s21);
  put(v + 12, r + 0, s30); put(v + 12, r + 4, s31);
}

@compute @workgroup_size(8)
fn wide_half(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = (group.x + group.y * groups.x) * 8 + local;
  let tiles = (p.rows + 7) / 8;
  let r = lane % tiles * 8;
  let v = lane / tiles * 16;
  if (v >= p.vectors) { return; }
  let a0 = at_x(v);
  let a1 = at_x(v + 4);
  let a2 = at_x(v + 8);
  let a3 = at_x(v + 12);
  let b0 = at_w(r);
  let b1 = at_w(r + 4);
  var s00: mat4x4f; var s01: mat4x4f;
  var s10: mat4x4f; var s11: mat4x4f;
  var s20: mat4x4f; var s21: mat4x4f;
  var s30: mat4x4f; var s31: mat4x4f;
  for (var k = 0u; k < p.quads; k += 2) {
    let more = k + 1 < p.quads; // the last quad may stand alone; what lies beside it must not come in as NaN · 0
    let x0 = x_texels(a0 + k); let x1 = x_texels(a1 + k); let x2 = x_texels(a2 + k); let x3 = x_texels(a3 + k);
    var u: mat4x4f;
    u = x_texels(a0 + k + 1); let u0 = mat4x4f(select(ZERO, u[0], more), select(ZERO, u[1], more), select(ZERO, u[2], more), select(ZERO, u[3], more));
    u = x_texels(a1 + k + 1); let u1 = mat4x4f(select(ZERO, u[0], more), select(ZERO, u[1], more), select(ZERO, u[2], more), select(ZERO, u[3], more));
    u = x_texels(a2 + k + 1); let u2 = mat4x4f(select(ZERO, u[0], more), select(ZERO, u[1], more), select(ZERO, u[2], more), select(ZERO, u[3], more));
    u = x_texels(a3 + k + 1); let u3 = mat4x4f(select(ZERO, u[0], more), select(ZERO, u[1], more), select(ZERO, u[2], more), select(ZERO, u[3], more));
    let h0 = h_texels(b0 + k / 2);
    let w0 = mat4x4f(low(h0[0]), low(h0[1]), low(h0[2]), low(h0[3]));
    s00 += x0 * w0; s10 += x1 * w0; s20 += x2 * w0; s30 += x3 * w0;
    let n0 = mat4x4f(high(h0[0]), high(h0[1]), high(h0[2]), high(h0[3]));
    s00 += u0 * n0; s10 += u1 * n0; s20 += u2 * n0; s30 += u3 * n0;
    let h1 = h_texels(b1 + k / 2);
    let w1 = mat4x4f(low(h1[0]), low(h1[1]), low(h1[2]), low(h1[3]));
    s01 += x0 * w1; s11 += x1 * w1; s21 += x2 * w1; s31 += x3 * w1;
    let n1 = mat4x4f(high(h1[0]), high(h1[1]), high(h1[2]), high(h1[3]));
    s01 += u0 * n1; s11 += u1 * n1; s21 += u2 * n1; s31 += u3 * n1;
  }
  put(v + 0, r + 0, s00); put(v + 0, r + 4, s01);
  put(v + 4, r + 0, s10); put(v + 4, r + 4, s11);
  put(v + 8, r + 0, s20); put(v + 8, r + 4, s21);
  put(v + 12, r + 0, s30); put(v + 12, r + 4, s31);
}

@group(0) @binding(3) var x_out: texture_storage_2d<rgba32float, write>;

// Vectors from v_first on, into x_texture.
@compute @workgroup_size(64)
fn x_to_texels(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = (group.x + group.y * groups.x) * 64 + local;
  let v = lane / p.quads;
  if (v < p.vectors) { textureStore(x_out, place(lane), loose_quad(p.v_first + v, lane % p.quads)); }
}

// Rows that lie in a buffer, into w_texture.
@compute @workgroup_size(64)
fn w_to_texels(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = (group.x + group.y * groups.x) * 64 + local;
  let r = lane / p.quads;
  if (r < p.rows) { textureStore(x_out, place(lane), weights[r * p.row_stride + lane % p.quads * p.quad_stride]); }
}
