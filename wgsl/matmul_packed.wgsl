// y = x·Ŵᵀ for many vectors, Ŵ dequantized as its tiles come into shared memory (lib/kernels/matmul_packed.ts): 64 vectors
// times 64 rows a workgroup, 16 columns a round. Software drivers dequantize some rows at a time and take matmul.wgsl.

override BITS: u32 = 3;
override GROUPED: bool = false; // a grid a group of columns; otherwise one a row

struct Params {
  vectors: u32,
  rows: u32, // of this part of W
  quads: u32, // columns / 4, rounded up
  row_stride: u32, // of codes: from row to row
  word_stride: u32, // from word to word
  groups: u32, // grids a row
  weak_row_stride: u32, // of weak columns: from row to row
  weak_stride: u32, // from one of a row to the next
  y_rows: u32, // rows of all parts: the stride of y
  y_first: u32, // where this part's rows begin in y
  cols: u32,
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>; // (vectors, quads)
@group(0) @binding(2) var<storage, read> codes: array<u32>;
@group(0) @binding(3) var<storage, read> grids: array<vec2f>; // scale and zero: (rows, groups)
@group(0) @binding(4) var<storage, read> columns: array<vec4i>; // group of a column, or −1 − i at weak column i; (quads)
@group(0) @binding(5) var<storage, read> weak: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>; // (vectors, y_rows)

var<workgroup> xs: array<vec4f, 256>; // (column, quad of vectors)
var<workgroup> ws: array<vec4f, 256>; // (column, quad of rows)

fn word(row: u32, at: u32) -> u32 {
  return codes[row * p.row_stride + at * p.word_stride];
}

// Four codes of a row, from column 4 k on.
fn code_quad(row: u32, k: u32) -> vec4f {
  let bit = 4 * k * BITS;
  let shift = bit % 32;
  var bits = word(row, bit / 32) >> shift;
  if (BITS == 3 && shift > 20) { bits |= word(row, bit / 32 + 1) << (32 - shift); }
  return vec4f((vec4u(bits) >> vec4u(0, BITS, 2 * BITS, 3 * BITS)) & vec4u((1u << BITS) - 1));
}

fn weight(row: u32, column: i32, code: f32) -> f32 {
  if (column < 0) { return weak[row * p.weak_row_stride + u32(-1 - column) * p.weak_stride]; }
  let grid = grids[row * p.groups + u32(column)];
  return grid.x * (code - grid.y);
}

// Four columns of a row.
fn weight_quad(row: u32, k: u32, own: vec4i) -> vec4f {
  let code = code_quad(row, k);
  if (!GROUPED && all(own == vec4i(0))) {
    let grid = grids[row];
    return grid.x * (code - grid.y);
  }
  return vec4f(
    weight(row, own.x, code.x), weight(row, own.y, code.y), weight(row, own.z, code.z), weight(row, own.w, code.w),
  );
}

fn outer(a: vec4f, b: vec4f) -> mat4x4f {
  return mat4x4f(a * b.x, a * b.y, a * b.z, a * b.w);
}

// Column k of s is row r + k of W, its components are vectors.
fn put(v: u32, r: u32, s: mat4x4f) {
  for (var k = 0u; k < 4; k++) {
    if (r + k >= p.rows) { return; }
    let at = v * p.y_rows + p.y_first + r + k;
    let column = s[k];
    if (v < p.vectors) { y[at] = column.x; }
    if (v + 1 < p.vectors) { y[at + p.y_rows] = column.y; }
    if (v + 2 < p.vectors) { y[at + 2 * p.y_rows] = column.z; }
    if (v + 3 < p.vectors) { y[at + 3 * p.y_rows] = column.w; }
  }
}

@compute @workgroup_size(64)
fn tiled(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = group.x + group.y * groups.x;
  let tiles = (p.rows + 63) / 64;
  let r = number % tiles * 64;
  let v = number / tiles * 64;
  if (v >= p.vectors) { return; }
  // What this lane brings: a quad of columns of four vectors and of four rows. Beyond the last ones those are brought
  // again; `put` drops what comes of them.
  let my_quad = local % 4;
  let my_v = v + local / 4 * 4;
  let my_r = r + local / 4 * 4;
  let at_x = min(vec4u(my_v, my_v + 1, my_v + 2, my_v + 3), vec4u(p.vectors - 1)) * p.quads;
  let rows = min(vec4u(my_r, my_r + 1, my_r + 2, my_r + 3), vec4u(p.rows - 1));
  let to = my_quad * 64 + local / 4;
  let of_w = local % 8 * 2;
  let of_x = local / 8 * 2;
  var s00: mat4x4f; var s01: mat4x4f; var s10: mat4x4f; var s11: mat4x4f;
  for (var first = 0u; first < p.quads; first += 4) {
    let k = first + my_quad;
    var x4 = mat4x4f();
    var w4 = mat4x4f();
    if (k < p.quads) {
      let own = columns[k];
      x4 = transpose(mat4x4f(x[at_x.x + k], x[at_x.y + k], x[at_x.z + k], x[at_x.w + k]));
      w4 = transpose(mat4x4f(
        weight_quad(rows.x, k, own), weight_quad(rows.y, k, own), weight_quad(rows.z, k, own), weight_quad(rows.w, k, own),
      ));
      // Beyond the last column a quad of codes means nothing, and 0 · NaN would.
      for (var c = 0u; c < 4; c++) { if (4 * k + c >= p.cols) { w4[c] = vec4f(); } }
    }
    workgroupBarrier();
    xs[to] = x4[0]; xs[to + 16] = x4[1]; xs[to + 32] = x4[2]; xs[to + 48] = x4[3];
    ws[to] = w4[0]; ws[to + 16] = w4[1]; ws[to + 32] = w4[2]; ws[to + 48] = w4[3];
    workgroupBarrier();
    for (var c = 0u; c < 256; c += 16) {
      let x0 = xs[c + of_x]; let x1 = xs[c + of_x + 1];
      let w0 = ws[c + of_w]; let w1 = ws[c + of_w + 1];
      s00 += outer(x0, w0); s01 += outer(x0, w1);
      s10 += outer(x1, w0); s11 += outer(x1, w1);
    }
  }
  let to_v = v + local / 8 * 8;
  let to_r = r + local % 8 * 8;
  put(to_v, to_r, s00); put(to_v, to_r + 4, s01);
  put(to_v + 4, to_r, s10); put(to_v + 4, to_r + 4, s11);
}
