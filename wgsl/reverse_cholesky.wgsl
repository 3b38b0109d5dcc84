// Cholesky of a flipped Hessian, A = L Lᵀ, a block of 32 columns at a time (lib/kernels/reverse_cholesky.ts): `update` takes
// from a block what the columns before it account for (a matrix product), `solve` finishes eight columns of it.
//
// Matrices lie transposed, (column, row), so that a vec4 is four rows of one column. The factor lies in strips of whole
// columns, each in a binding of its own; a column is A's until it is done and L's from then on. What lies above the diagonal
// is of no meaning and is never read. Nothing waits for another lane.

struct Params {
  row_quads: u32, // rows / 4, padded to a multiple of 32 rows
  start: u32, // the block: columns start … start + 31
  count: u32, // update: columns of this strip that lie before the block, a multiple of 32
  own: u32, // where the block's first column lies in its strip
  done: u32, // solve: columns of the block that are done, a multiple of 8
  fresh: u32, // update: 1 for the first strip of a block
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> factor: array<vec4f>; // a strip: (columns, row_quads)
@group(0) @binding(2) var<storage, read> strip: array<vec4f>; // the strip of the block, likewise
@group(0) @binding(3) var<storage, read_write> block: array<vec4f>; // A − L Lᵀ of the block: (32, row_quads)

// Four rows of one column times four rows of another: a column of the product for each.
fn outer(e: vec4f, m: vec4f) -> mat4x4f {
  return mat4x4f(e * m.x, e * m.y, e * m.z, e * m.w);
}

fn subtract(column: u32, row: u32, s: mat4x4f) {
  for (var k = 0u; k < 4; k++) {
    let at = (column + k) * p.row_quads + row;
    if (p.fresh == 1) {
      block[at] = strip[p.own * p.row_quads + at] - s[k];
    } else {
      block[at] -= s[k];
    }
  }
}

// A lane takes 8 rows of 8 columns: as many sums as a GPU has registers for.
@compute @workgroup_size(32)
fn update(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = (group.x + group.y * groups.x) * 32 + local;
  let tiles = (p.row_quads - p.start / 4) / 2;
  let column = lane / tiles * 8;
  if (column >= 32) { return; }
  let row = p.start / 4 + lane % tiles * 2;
  var s00: mat4x4f; var s01: mat4x4f;
  var s10: mat4x4f; var s11: mat4x4f;
  var at_e = row;
  var at_m = (p.start + column) / 4;
  for (var k = 0u; k < p.count; k += 2) {
    let e0 = factor[at_e]; let e1 = factor[at_e + 1];
    let m0 = factor[at_m]; let m1 = factor[at_m + 1];
    at_e += p.row_quads; at_m += p.row_quads;
    let f0 = factor[at_e]; let f1 = factor[at_e + 1];
    let n0 = factor[at_m]; let n1 = factor[at_m + 1];
    at_e += p.row_quads; at_m += p.row_quads;
    s00 += outer(e0, m0) + outer(f0, n0);
    s01 += outer(e0, m1) + outer(f0, n1);
    s10 += outer(e1, m0) + outer(f1, n0);
    s11 += outer(e1, m1) + outer(f1, n1);
  }
  subtract(column, row, s00); subtract(column + 4, row, s01);
  subtract(column, row + 1, s10); subtract(column + 4, row + 1, s11);
}

// The same with 16 rows of 16 columns, for software drivers: a texel of a storage texture costs them a fifth of what four
// floats of a buffer do, so the strip's finished columns lie there too, in rows of 1024 texels; and sums that find no
// register lie in the first cache.
@group(0) @binding(1) var texels: texture_storage_2d<rgba32float, read>; // `factor`, as far as it is finished

fn texel(n: u32) -> vec4f {
  return textureLoad(texels, vec2u(n & 1023, n >> 10));
}

@compute @workgroup_size(8)
fn update_texels(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = (group.x + group.y * groups.x) * 8 + local;
  let tiles = (p.row_quads - p.start / 4) / 4;
  let column = lane / tiles * 16;
  if (column >= 32) { return; }
  let row = p.start / 4 + lane % tiles * 4;
  var s00: mat4x4f; var s01: mat4x4f; var s02: mat4x4f; var s03: mat4x4f;
  var s10: mat4x4f; var s11: mat4x4f; var s12: mat4x4f; var s13: mat4x4f;
  var s20: mat4x4f; var s21: mat4x4f; var s22: mat4x4f; var s23: mat4x4f;
  var s30: mat4x4f; var s31: mat4x4f; var s32: mat4x4f; var s33: mat4x4f;
  var at_e = row;
  var at_m = (p.start + column) / 4;
  for (var k = 0u; k < p.count; k += 2) {
    let e0 = texel(at_e); let e1 = texel(at_e + 1); let e2 = texel(at_e + 2); let e3 = texel(at_e + 3);
    let m0 = texel(at_m); let m1 = texel(at_m + 1); let m2 = texel(at_m + 2); let m3 = texel(at_m + 3);
    at_e += p.row_quads; at_m += p.row_quads;
    let f0 = texel(at_e); let f1 = texel(at_e + 1); let f2 = texel(at_e + 2); let f3 = texel(at_e + 3);
    let n0 = texel(at_m); let n1 = texel(at_m + 1); let n2 = texel(at_m + 2); let n3 = texel(at_m + 3);
    at_e += p.row_quads; at_m += p.row_quads;
    s00 += outer(e0, m0) + outer(f0, n0);
    s01 += outer(e0, m1) + outer(f0, n1);
    s02 += outer(e0, m2) + outer(f0, n2);
    s03 += outer(e0, m3) + outer(f0, n3);
    s10 += outer(e1, m0) + outer(f1, n0);
    s11 += outer(e1, m1) + outer(f1, n1);
    s12 += outer(e1, m2) + outer(f1, n2);
    s13 += outer(e1, m3) + outer(f1, n3);
    s20 += outer(e2, m0) + outer(f2, n0);
    s21 += outer(e2, m1) + outer(f2, n1);
    s22 += outer(e2, m2) + outer(f2, n2);
    s23 += outer(e2, m3) + outer(f2, n3);
    s30 += outer(e3, m0) + outer(f3, n0);
    s31 += outer(e3, m1) + outer(f3, n1);
    s32 += outer(e3, m2) + outer(f3, n2);
    s33 += outer(e3, m3) + outer(f3, n3);
  }
  subtract(column, row, s00); subtract(column + 4, row, s01); subtract(column + 8, row, s02); subtract(column + 12, row, s03);
  subtract(column, row + 1, s10); subtract(column + 4, row + 1, s11); subtract(column + 8, row + 1, s12); subtract(column + 12, row + 1, s13);
  subtract(column, row + 2, s20); subtract(column + 4, row + 2, s21); subtract(column + 8, row + 2, s22); subtract(column + 12, row + 2, s23);
  subtract(column, row + 3, s30); subtract(column + 4, row + 3, s31); subtract(column + 8, row + 3, s32); subtract(column + 12, row + 3, s33);
}

@group(0) @binding(2) var<storage, read_write> finished: array<vec4f>; // the strip of the block
@group(0) @binding(3) var<storage, read> left: array<vec4f>; // `block`
@group(0) @binding(4) var<storage, read_write> pivots: array<f32>; // (columns) what the roots were taken of

// The root of a pivot; one that is not above 0 is reported by its value, and what follows it is of no meaning.
fn root(pivot: f32) -> f32 {
  return sqrt(select(1.0, pivot, pivot > 0));
}

// A lane takes four rows of eight columns. It factors the 8 × 8 tile on the diagonal by itself: that is less work than waiting.
@compute @workgroup_size(16)
fn solve(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let diagonal = (p.start + p.done) / 4;
  let row = diagonal + (group.x + group.y * groups.x) * 16 + local;
  if (row >= p.row_quads) { return; }
  let r = p.row_quads;
  let first = p.done * r;
  // Columns of the tile: a, rows 0 … 3 of 0 … 3; b, rows 4 … 7 of 0 … 3; c, rows 4 … 7 of 4 … 7. And this lane's own: s, t.
  var a = mat4x4f(left[first + 0 * r + diagonal], left[first + 1 * r + diagonal], left[first + 2 * r + diagonal], left[first + 3 * r + diagonal]);
  var b = mat4x4f(left[first + 0 * r + diagonal + 1], left[first + 1 * r + diagonal + 1], left[first + 2 * r + diagonal + 1], left[first + 3 * r + diagonal + 1]);
  var c = mat4x4f(left[first + 4 * r + diagonal + 1], left[first + 5 * r + diagonal + 1], left[first + 6 * r + diagonal + 1], left[first + 7 * r + diagonal + 1]);
  var s = mat4x4f(left[first + 0 * r + row], left[first + 1 * r + row], left[first + 2 * r + row], left[first + 3 * r + row]);
  var t = mat4x4f(left[first + 4 * r + row], left[first + 5 * r + row], left[first + 6 * r + row], left[first + 7 * r + row]);
  let own = p.own * r;
  for (var j = 0u; j < p.done; j++) {
    let e = finished[own + j * r + row];
    let m = finished[own + j * r + diagonal];
    let n = finished[own + j * r + diagonal + 1];
    a -= outer(m, m); b -= outer(n, m); c -= outer(n, n);
    s -= outer(e, m); t -= outer(e, n);
  }
  var low: vec4f; var high: vec4f; // pivots
  low.x = a[0].x;
  let f0 = 1 / root(low.x);
  a[0] *= f0; b[0] *= f0; s[0] *= f0;
  a[1] -= a[0] * a[0].y; b[1] -= b[0] * a[0].y; s[1] -= s[0] * a[0].y;
  a[2] -= a[0] * a[0].z; b[2] -= b[0] * a[0].z; s[2] -= s[0] * a[0].z;
  a[3] -= a[0] * a[0].w; b[3] -= b[0] * a[0].w; s[3] -= s[0] * a[0].w;
  c -= outer(b[0], b[0]); t -= outer(s[0], b[0]);
  low.y = a[1].y;
  let f1 = 1 / root(low.y);
  a[1] *= f1; b[1] *= f1; s[1] *= f1;
  a[2] -= a[1] * a[1].z; b[2] -= b[1] * a[1].z; s[2] -= s[1] * a[1].z;
  a[3] -= a[1] * a[1].w; b[3] -= b[1] * a[1].w; s[3] -= s[1] * a[1].w;
  c -= outer(b[1], b[1]); t -= outer(s[1], b[1]);
  low.z = a[2].z;
  let f2 = 1 / root(low.z);
  a[2] *= f2; b[2] *= f2; s[2] *= f2;
  a[3] -= a[2] * a[2].w; b[3] -= b[2] * a[2].w; s[3] -= s[2] * a[2].w;
  c -= outer(b[2], b[2]); t -= outer(s[2], b[2]);
  low.w = a[3].w;
  let f3 = 1 / root(low.w);
  a[3] *= f3; b[3] *= f3; s[3] *= f3;
  c -= outer(b[3], b[3]); t -= outer(s[3], b[3]);
  high.x = c[0].x;
  let f4 = 1 / root(high.x);
  c[0] *= f4; t[0] *= f4;
  c[1] -= c[0] * c[0].y; t[1] -= t[0] * c[0].y;
  c[2] -= c[0] * c[0].z; t[2] -= t[0] * c[0].z;
  c[3] -= c[0] * c[0].w; t[3] -= t[0] * c[0].w;
  high.y = c[1].y;
  let f5 = 1 / root(high.y);
  c[1] *= f5; t[1] *= f5;
  c[2] -= c[1] * c[1].z; t[2] -= t[1] * c[1].z;
  c[3] -= c[1] * c[1].w; t[3] -= t[1] * c[1].w;
  high.z = c[2].z;
  let f6 = 1 / root(high.z);
  c[2] *= f6; t[2] *= f6;
  c[3] -= c[2] * c[2].w; t[3] -= t[2] * c[2].w;
  high.w = c[3].w;
  let f7 = 1 / root(high.w);
  c[3] *= f7; t[3] *= f7;
  let to = own + first + row;
  for (var k = 0u; k < 4; k++) {
    finished[to + k * r] = s[k];
    finished[to + (k + 4) * r] = t[k];
  }
  if (row == diagonal) {
    for (var k = 0u; k < 4; k++) {
      pivots[4 * row + k] = low[k];
      pivots[4 * row + 4 + k] = high[k];
    }
  }
}

struct Finish {
  size: u32, // n
  row_quads: u32,
  first: u32, // the strip: columns first … first + width − 1 of L, those beyond n left out
  width: u32,
}

@group(0) @binding(0) var<uniform> f: Finish;
@group(0) @binding(1) var<storage, read> values: array<f32>; // the strip, number by number
@group(0) @binding(2) var<storage, read_write> feedback: array<f32>; // M[j, k] of these columns: (n, width), k ascending

// M[j, k] = L[n − 1 − j, n − 1 − k] / L[n − 1 − k, n − 1 − k] for j < k, else 0. A lane takes sixteen rows of one column: they lie
// together in L.
@compute @workgroup_size(64)
fn finish(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let lane = (group.x + group.y * groups.x) * 64 + local;
  let first = lane / f.width * 16;
  if (first >= f.size) { return; }
  let k = lane % f.width;
  let column = f.first + f.width - 1 - k;
  let at = (column - f.first) * f.row_quads * 4;
  let inverse = 1 / values[at + column];
  for (var j = first; j < min(first + 16, f.size); j++) {
    let row = f.size - 1 - j;
    feedback[j * f.width + k] = select(0.0, values[at + row] * inverse, row > column);
  }
}
