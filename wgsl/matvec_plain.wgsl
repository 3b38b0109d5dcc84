// y = x·Ŵᵀ of a packed matrix in its stored form, one lane an output: the plainest kernel that is right
// (lib/kernels/matvec_plain.ts).

struct Params { rows: u32, cols: u32, words: u32, groups: u32, weak: u32, bits: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<u32>; // (rows, words)
@group(0) @binding(2) var<storage, read> grids: array<vec2f>; // scale and zero: (rows, groups)
@group(0) @binding(3) var<storage, read> group_of: array<i32>; // (cols), −1 at a weak column
@group(0) @binding(4) var<storage, read> weak_ids: array<u32>;
@group(0) @binding(5) var<storage, read> weak: array<f32>; // (rows, weak)
@group(0) @binding(6) var<storage, read> x: array<f32>; // (vectors, cols)
@group(0) @binding(7) var<storage, read_write> y: array<f32>; // (vectors, rows)

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let row = id.x;
  let at_x = id.y * p.cols;
  if (row >= p.rows) { return; }
  var sum = 0f;
  for (var c = 0u; c < p.cols; c++) {
    let group = group_of[c];
    if (group < 0) { continue; }
    let bit = c * p.bits;
    let word = row * p.words + bit / 32;
    var code = codes[word] >> (bit % 32);
    if (bit % 32 + p.bits > 32) { code |= codes[word + 1] << (32 - bit % 32); }
    let grid = grids[row * p.groups + u32(group)];
    sum += grid.x * (f32(code & ((1u << p.bits) - 1)) - grid.y) * x[at_x + c];
  }
  for (var i = 0u; i < p.weak; i++) { sum += weak[row * p.weak + i] * x[at_x + weak_ids[i]]; }
  y[id.y * p.rows + row] = sum;
}
