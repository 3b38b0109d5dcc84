// The OPTQ sweep, a block of columns at a time: `feed` is what the columns before the block feed into it (a matrix
// product), `sweep` what the block's own columns feed into each other, each row by itself (lib/kernels/optq_sweep.ts).
//
// Matrices lie transposed, (column, row), so that a vec4 is four rows of one column: a load of M then serves four or
// eight or sixteen rows. Sums are kept in registers; nothing waits for another lane.

struct Params {
  first: u32, // workgroups of this submission: first … end − 1
  end: u32,
  row_quads: u32, // rows / 4, rows padded to a multiple of 16
  start: u32, // the block: columns start … to − 1
  to: u32,
  panel_quads: u32, // columns of `panel` / 4, padded to a multiple of 16 columns
  group_size: u32, // columns of a grid; 0: one grid a row
  keep: u32, // 1: leave the columns as they are and store them in `values`
  top: f32, // 2^b − 1
  panel_first: u32, // where the block's columns begin in `panel`, in quads: it holds M's of this block only, or all
  block_quads: u32, // columns of the block / 4, padded likewise
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>; // (cols, row_quads)
@group(0) @binding(2) var<storage, read> panel: array<vec4f>; // M[0 … to − 1, …]: (to, panel_quads)
@group(0) @binding(3) var<storage, read_write> errors: array<vec4f>; // w − ŵ: (cols, row_quads)
@group(0) @binding(4) var<storage, read_write> fed: array<vec4f>; // W + E M of the block: (columns of panel, row_quads)

// Four rows of one column times four columns of M: a column of the result for each.
fn outer(e: vec4f, m: vec4f) -> mat4x4f {
  return mat4x4f(e * m.x, e * m.y, e * m.z, e * m.w);
}

fn store_fed(quad: u32, row: u32, sum: mat4x4f) {
  for (var k = 0u; k < 4; k++) {
    let column = 4 * quad + k;
    if (p.start + column < p.to) {
      fed[column * p.row_quads + row] = weights[(p.start + column) * p.row_quads + row] + sum[k];
    }
  }
}

// A lane takes 8 rows of 8 columns: as many sums as a GPU has registers for.
@compute @workgroup_size(32)
fn feed(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = p.first + group.x + group.y * groups.x;
  let lane = number * 32 + local;
  let row_tiles = p.row_quads / 2;
  let tile = lane / row_tiles * 2;
  if (number >= p.end || tile >= p.block_quads) { return; }
  let row = lane % row_tiles * 2;
  var s00: mat4x4f; var s01: mat4x4f;
  var s10: mat4x4f; var s11: mat4x4f;
  var at_e = row;
  var at_m = p.panel_first + tile;
  var j = 0u;
  while (j + 1 < p.start) {
    let e0 = errors[at_e]; let e1 = errors[at_e + 1];
    let m0 = panel[at_m]; let m1 = panel[at_m + 1];
    at_e += p.row_quads;
    at_m += p.panel_quads;
    let f0 = errors[at_e]; let f1 = errors[at_e + 1];
    let n0 = panel[at_m]; let n1 = panel[at_m + 1];
    at_e += p.row_quads;
    at_m += p.panel_quads;
    s00 += outer(e0, m0) + outer(f0, n0); s01 += outer(e0, m1) + outer(f0, n1);
    s10 += outer(e1, m0) + outer(f1, n0); s11 += outer(e1, m1) + outer(f1, n1);
    j += 2;
  }
  if (j < p.start) {
    let e0 = errors[at_e]; let e1 = errors[at_e + 1];
    let m0 = panel[at_m]; let m1 = panel[at_m + 1];
    s00 += outer(e0, m0); s01 += outer(e0, m1);
    s10 += outer(e1, m0); s11 += outer(e1, m1);
  }
  store_fed(tile, row, s00); store_fed(tile, row + 1, s10);
  store_fed(tile + 1, row, s01); store_fed(tile + 1, row + 1, s11);
}

// For software drivers a lane takes 16 rows of 8 columns. A texel of a storage texture costs them a quarter of what four
// floats of a buffer do, so there both sides of the product lie in textures, in rows of 1024 texels.
@group(0) @binding(2) var panel_texture: texture_storage_2d<rgba32float, read>; // `panel`
@group(0) @binding(3) var error_texture: texture_storage_2d<rgba32float, read>; // `errors` of the columns before the block

fn place(n: u32) -> vec2u {
  return vec2u(n & 1023, n >> 10);
}

fn error_texel(n: u32) -> vec4f {
  return textureLoad(error_texture, place(n));
}

fn panel_texel(n: u32) -> vec4f {
  return textureLoad(panel_texture, place(n));
}

@compute @workgroup_size(8)
fn feed_wide(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = p.first + group.x + group.y * groups.x;
  let lane = number * 8 + local;
  // Neighbours take the same rows: errors come from memory once, the panel lies in the cache.
  let tile = lane % (p.block_quads / 4) * 4;
  let row = lane / (p.block_quads / 4) * 4;
  if (number >= p.end || row >= p.row_quads) { return; }
  var s00: mat4x4f; var s01: mat4x4f; var s02: mat4x4f; var s03: mat4x4f;
  var s10: mat4x4f; var s11: mat4x4f; var s12: mat4x4f; var s13: mat4x4f;
  var s20: mat4x4f; var s21: mat4x4f; var s22: mat4x4f; var s23: mat4x4f;
  var s30: mat4x4f; var s31: mat4x4f; var s32: mat4x4f; var s33: mat4x4f;
  var at_e = row;
  var at_m = p.panel_first + tile;
  for (var j = 0u; j + 1 < p.start; j += 2) {
    let e0 = error_texel(at_e); let e1 = error_texel(at_e + 1); let e2 = error_texel(at_e + 2); let e3 = error_texel(at_e + 3);
    let m0 = panel_texel(at_m); let m1 = panel_texel(at_m + 1); let m2 = panel_texel(at_m + 2); let m3 = panel_texel(at_m + 3);
    at_e += p.row_quads;
    at_m += p.panel_quads;
    let f0 = error_texel(at_e); let f1 = error_texel(at_e + 1); let f2 = error_texel(at_e + 2); let f3 = error_texel(at_e + 3);
    let n0 = panel_texel(at_m); let n1 = panel_texel(at_m + 1); let n2 = panel_texel(at_m + 2); let n3 = panel_texel(at_m + 3);
    at_e += p.row_quads;
    at_m += p.panel_quads;
    s00 += outer(e0, m0) + outer(f0, n0); s01 += outer(e0, m1) + outer(f0, n1); s02 += outer(e0, m2) + outer(f0, n2); s03 += outer(e0, m3) + outer(f0, n3);
    s10 += outer(e1, m0) + outer(f1, n0); s11 += outer(e1, m1) + outer(f1, n1); s12 += outer(e1, m2) + outer(f1, n2); s13 += outer(e1, m3) + outer(f1, n3);
    s20 += outer(e2, m0) + outer(f2, n0); s21 += outer(e2, m1) + outer(f2, n1); s22 += outer(e2, m2) + outer(f2, n2); s23 += outer(e2, m3) + outer(f2, n3);
    s30 += outer(e3, m0) + outer(f3, n0); s31 += outer(e3, m1) + outer(f3, n1); s32 += outer(e3, m2) + outer(f3, n2); s33 += outer(e3, m3) + outer(f3, n3);
  }
  if (p.start % 2 == 1) {
    let e0 = error_texel(at_e); let e1 = error_texel(at_e + 1); let e2 = error_texel(at_e + 2); let e3 = error_texel(at_e + 3);
    let m0 = panel_texel(at_m); let m1 = panel_texel(at_m + 1); let m2 = panel_texel(at_m + 2); let m3 = panel_texel(at_m + 3);
    s00 += outer(e0, m0); s01 += outer(e0, m1); s02 += outer(e0, m2); s03 += outer(e0, m3);
    s10 += outer(e1, m0); s11 += outer(e1, m1); s12 += outer(e1, m2); s13 += outer(e1, m3);
    s20 += outer(e2, m0); s21 += outer(e2, m1); s22 += outer(e2, m2); s23 += outer(e2, m3);
    s30 += outer(e3, m0); s31 += outer(e3, m1); s32 += outer(e3, m2); s33 += outer(e3, m3);
  }
  store_fed(tile, row, s00); store_fed(tile, row + 1, s10); store_fed(tile, row + 2, s20); store_fed(tile, row + 3, s30);
  store_fed(tile + 1, row, s01); store_fed(tile + 1, row + 1, s11); store_fed(tile + 1, row + 2, s21); store_fed(tile + 1, row + 3, s31);
  store_fed(tile + 2, row, s02); store_fed(tile + 2, row + 1, s12); store_fed(tile + 2, row + 2, s22); store_fed(tile + 2, row + 3, s32);
  store_fed(tile + 3, row, s03); store_fed(tile + 3, row + 1, s13); store_fed(tile + 3, row + 2, s23); store_fed(tile + 3, row + 3, s33);
}

@group(0) @binding(5) var<storage, read> scales: array<vec4f>; // (groups, row_quads)
@group(0) @binding(6) var<storage, read> zeros: array<vec4f>; // (groups, row_quads)
@group(0) @binding(7) var<storage, read_write> values: array<vec4f>; // w' of kept columns: (columns of panel, row_quads)
// For each quad of rows: its codes, a byte each; the sum of its (w' − ŵ)², as bits. (cols, row_quads)
@group(0) @binding(8) var<storage, read_write> results: array<vec2u>;

struct Grid { scale: vec4f, zero: vec4f } // of a lane's four rows

// A lane takes 4 rows and goes through the block's columns 8 by 8.
@compute @workgroup_size(16)
fn sweep(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = p.first + group.x + group.y * groups.x;
  let row = number * 16 + local;
  if (number >= p.end || row >= p.row_quads) { return; }
  var grid = Grid(scales[row], zeros[row]);
  for (var c = 0u; p.start + c < p.to; c += 8) {
    let at = c * p.row_quads + row;
    let r = p.row_quads;
    // Beyond the block's last column these are of no meaning, and `settle` makes nothing of them.
    var s = mat4x4f(fed[at], fed[at + r], fed[at + 2 * r], fed[at + 3 * r]);
    var t = mat4x4f(fed[at + 4 * r], fed[at + 5 * r], fed[at + 6 * r], fed[at + 7 * r]);
    var at_e = p.start * r + row;
    var at_m = p.start * p.panel_quads + p.panel_first + c / 4;
    for (var j = 0u; j < c; j += 4) {
      let e0 = errors[at_e]; let e1 = errors[at_e + r]; let e2 = errors[at_e + 2 * r]; let e3 = errors[at_e + 3 * r];
      let m0 = panel[at_m]; let n0 = panel[at_m + 1];
      at_m += p.panel_quads;
      let m1 = panel[at_m]; let n1 = panel[at_m + 1];
      at_m += p.panel_quads;
      let m2 = panel[at_m]; let n2 = panel[at_m + 1];
      at_m += p.panel_quads;
      let m3 = panel[at_m]; let n3 = panel[at_m + 1];
      at_m += p.panel_quads;
      s += outer(e0, m0) + outer(e1, m1) + outer(e2, m2) + outer(e3, m3);
      t += outer(e0, n0) + outer(e1, n1) + outer(e2, n2) + outer(e3, n3);
      at_e += 4 * r;
    }
    // The 8 columns among themselves: M is strictly upper, so each needs only what is right of it.
    let e0 = settle(c, row, &grid, s[0]);
    var m = panel[at_m];
    var n = panel[at_m + 1];
    s[1] += e0 * m.y; s[2] += e0 * m.z; s[3] += e0 * m.w; t[0] += e0 * n.x; t[1] += e0 * n.y; t[2] += e0 * n.z; t[3] += e0 * n.w;
    let e1 = settle(c + 1, row, &grid, s[1]);
    at_m += p.panel_quads;
    m = panel[at_m];
    n = panel[at_m + 1];
    s[2] += e1 * m.z; s[3] += e1 * m.w; t[0] += e1 * n.x; t[1] += e1 * n.y; t[2] += e1 * n.z; t[3] += e1 * n.w;
    let e2 = settle(c + 2, row, &grid, s[2]);
    at_m += p.panel_quads;
    m = panel[at_m];
    n = panel[at_m + 1];
    s[3] += e2 * m.w; t[0] += e2 * n.x; t[1] += e2 * n.y; t[2] += e2 * n.z; t[3] += e2 * n.w;
    let e3 = settle(c + 3, row, &grid, s[3]);
    at_m += p.panel_quads;
    n = panel[at_m + 1];
    t[0] += e3 * n.x; t[1] += e3 * n.y; t[2] += e3 * n.z; t[3] += e3 * n.w;
    let e4 = settle(c + 4, row, &grid, t[0]);
    at_m += p.panel_quads;
    n = panel[at_m + 1];
    t[1] += e4 * n.y; t[2] += e4 * n.z; t[3] += e4 * n.w;
    let e5 = settle(c + 5, row, &grid, t[1]);
    at_m += p.panel_quads;
    n = panel[at_m + 1];
    t[2] += e5 * n.z; t[3] += e5 * n.w;
    let e6 = settle(c + 6, row, &grid, t[2]);
    at_m += p.panel_quads;
    n = panel[at_m + 1];
    t[3] += e6 * n.w;
    settle(c + 7, row, &grid, t[3]);
  }
}

// Rounds column c of the block, or keeps it; stores what became of it and gives back w − ŵ.
fn settle(c: u32, row: u32, grid: ptr<function, Grid>, w: vec4f) -> vec4f {
  let column = p.start + c;
  if (column >= p.to) { return vec4f(0); }
  let at = column * p.row_quads + row;
  var value = w;
  if (p.keep == 1) {
    values[c * p.row_quads + row] = w;
  } else {
    if (p.group_size > 0) {
      let own = column / p.group_size * p.row_quads + row;
      *grid = Grid(scales[own], zeros[own]);
    }
    let scale = (*grid).scale;
    let zero = (*grid).zero;
    let code = clamp(round(w / scale) + zero, vec4f(0), vec4f(p.top));
    value = scale * (code - zero);
    let left = w - value;
    let bytes = vec4u(code);
    results[at] = vec2u(bytes.x | bytes.y << 8 | bytes.z << 16 | bytes.w << 24, bitcast<u32>(dot(left, left)));
  }
  let e = weights[at] - value;
  errors[at] = e;
  return e;
}
