// H ← keep · H + weight · XᵀX in place, the upper triangle only (lib/kernels/gram.ts): the second moment of a layer's inputs.
//
// X lies as it comes, (token, column), so that a vec4 is four columns of one token; H (row, column) in strips of rows, each in
// a binding of its own. What lies below the diagonal's tiles is of no meaning.

struct Params {
  first: u32, // workgroups of this submission: first … end − 1
  end: u32,
  quads: u32, // columns / 4, padded to a multiple of 64 columns
  tokens: u32, // padded by zeros to a multiple of 16
  top: u32, // rows top … top + rows − 1 of H are this strip
  rows: u32, // a multiple of 64
  keep: f32,
  weight: f32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>; // (tokens, quads)
@group(0) @binding(2) var<storage, read_write> h: array<vec4f>; // (rows, quads)

// Four columns of one token times four others: a column of the result for each of the others.
fn outer(m: vec4f, e: vec4f) -> mat4x4f {
  return mat4x4f(m * e.x, m * e.y, m * e.z, m * e.w);
}

// Column k of s belongs to row 4 · row + k.
fn add(row: u32, column: u32, s: mat4x4f) {
  var at = (4 * row - p.top) * p.quads + column;
  for (var k = 0u; k < 4; k++) {
    if (p.keep == 0) { h[at] = p.weight * s[k]; } else { h[at] = p.keep * h[at] + p.weight * s[k]; }
    at += p.quads;
  }
}

// For software drivers: a lane takes 16 rows of 16 columns (see wgsl/matmul.wgsl).
@compute @workgroup_size(8)
fn gram_wide(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = p.first + group.x + group.y * groups.x;
  let lane = number * 8 + local;
  let tiles = p.quads / 4;
  let row = p.top / 4 + lane / tiles * 4;
  let column = lane % tiles * 4;
  if (number >= p.end || lane / tiles * 16 >= p.rows || column < row) { return; }
  var s00: mat4x4f; var s01: mat4x4f; var s02: mat4x4f; var s03: mat4x4f;
  var s10: mat4x4f; var s11: mat4x4f; var s12: mat4x4f; var s13: mat4x4f;
  var s20: mat4x4f; var s21: mat4x4f; var s22: mat4x4f; var s23: mat4x4f;
  var s30: mat4x4f; var s31: mat4x4f; var s32: mat4x4f; var s33: mat4x4f;
  var at = 0u;
  for (var t = 0u; t < p.tokens; t += 2) {
    let e0 = x[at + row]; let e1 = x[at + row + 1]; let e2 = x[at + row + 2]; let e3 = x[at + row + 3];
    let m0 = x[at + column]; let m1 = x[at + column + 1]; let m2 = x[at + column + 2]; let m3 = x[at + column + 3];
    at += p.quads;
    let f0 = x[at + row]; let f1 = x[at + row + 1]; let f2 = x[at + row + 2]; let f3 = x[at + row + 3];
    let n0 = x[at + column]; let n1 = x[at + column + 1]; let n2 = x[at + column + 2]; let n3 = x[at + column + 3];
    at += p.quads;
    s00 += outer(m0, e0) + outer(n0, f0); s01 += outer(m1, e0) + outer(n1, f0); s02 += outer(m2, e0) + outer(n2, f0); s03 += outer(m3, e0) + outer(n3, f0);
    s10 += outer(m0, e1) + outer(n0, f1); s11 += outer(m1, e1) + outer(n1, f1); s12 += outer(m2, e1) + outer(n2, f1); s13 += outer(m3, e1) + outer(n3, f1);
    s20 += outer(m0, e2) + outer(n0, f2); s21 += outer(m1, e2) + outer(n1, f2); s22 += outer(m2, e2) + outer(n2, f2); s23 += outer(m3, e2) + outer(n3, f2);
    s30 += outer(m0, e3) + outer(n0, f3); s31 += outer(m1, e3) + outer(n1, f3); s32 += outer(m2, e3) + outer(n2, f3); s33 += outer(m3, e3) + outer(n3, f3);
  }
  add(row, column, s00); add(row, column + 1, s01); add(row, column + 2, s02); add(row, column + 3, s03);
  add(row + 1, column, s10); add(row + 1, column + 1, s11); add(row + 1, column + 2, s12); add(row + 1, column + 3, s13);
  add(row + 2, column, s20); add(row + 2, column + 1, s21); add(row + 2, column + 2, s22); add(row + 2, column + 3, s23);
  add(row + 3, column, s30); add(row + 3, column + 1, s31); add(row + 3, column + 2, s32); add(row + 3, column + 3, s33);
}

var<workgroup> es: array<vec4f, 256>; // (token, quad of rows)
var<workgroup> ms: array<vec4f, 256>; // (token, quad of columns)

// For GPUs: a workgroup takes 64 rows of 64 columns, 16 tokens a round; a lane takes 8 × 8 of them.
@compute @workgroup_size(64)
fn gram(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = p.first + group.x + group.y * groups.x;
  let tiles = p.quads / 16;
  let row = p.top / 4 + number / tiles * 16;
  let column = number % tiles * 16;
  if (number >= p.end || column < row) { return; }
  let of_e = local / 8 * 2;
  let of_m = local % 8 * 2;
  var s00: mat4x4f; var s01: mat4x4f; var s10: mat4x4f; var s11: mat4x4f;
  for (var t = 0u; t < p.tokens; t += 16) {
    workgroupBarrier();
    for (var i = local; i < 256; i += 64) {
      let at = (t + i / 16) * p.quads + i % 16;
      es[i] = x[at + row];
      ms[i] = x[at + column];
    }
    workgroupBarrier();
    for (var c = 0u; c < 256; c += 16) {
      let e0 = es[c + of_e]; let e1 = es[c + of_e + 1];
      let m0 = ms[c + of_m]; let m1 = ms[c + of_m + 1];
      s00 += outer(m0, e0); s01 += outer(m1, e0);
      s10 += outer(m0, e1); s11 += outer(m1, e1);
    }
  }
  add(row + of_e, column + of_m, s00); add(row + of_e, column + of_m + 1, s01);
  add(row + of_e + 1, column + of_m, s10); add(row + of_e + 1, column + of_m + 1, s11);
}
