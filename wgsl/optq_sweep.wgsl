// The OPTQ sweep, a block of columns at a time: `feed` is what the columns before the block feed into it (a matrix
// product), `sweep` what the block's own columns feed into each other, each row by itself (lib/kernels/optq_sweep.ts).
//
// Matrices lie transposed, (column, row), so that a vec4 is four rows of one column: a load of M then serves four or
// eight rows. Sums are kept in registers; nothing waits for another lane.

struct Params {
  first: u32, // workgroups of this submission: first … end − 1
  end: u32,
  row_quads: u32, // rows / 4, rows padded to a multiple of 8
  start: u32, // the block: columns start … to − 1
  to: u32,
  panel_quads: u32, // columns of `panel` / 4, padded to a multiple of 8 columns
  group_size: u32, // columns of a grid; 0: one grid a row
  keep: u32, // 1: leave the columns as they are and store them in `values`
  top: f32, // 2^b − 1
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>; // (cols, row_quads)
@group(0) @binding(2) var<storage, read> panel: array<vec4f>; // M[0 … to − 1, start … to − 1]: (to, panel_quads)
@group(0) @binding(3) var<storage, read_write> errors: array<vec4f>; // w − ŵ: (cols, row_quads)
@group(0) @binding(4) var<storage, read_write> fed: array<vec4f>; // W + E M of the block: (columns of panel, row_quads)

// A lane takes 8 rows of 8 columns: four loads for 64 products.
@compute @workgroup_size(32)
fn feed(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = p.first + group.x + group.y * groups.x;
  let lane = number * 32 + local;
  let row_tiles = p.row_quads / 2;
  let tile = lane / row_tiles;
  if (number >= p.end || 2 * tile >= p.panel_quads) { return; }
  let row = lane % row_tiles * 2;
  var a0: vec4f; var a1: vec4f; var a2: vec4f; var a3: vec4f; var a4: vec4f; var a5: vec4f; var a6: vec4f; var a7: vec4f;
  var b0: vec4f; var b1: vec4f; var b2: vec4f; var b3: vec4f; var b4: vec4f; var b5: vec4f; var b6: vec4f; var b7: vec4f;
  var at_error = row;
  var at_panel = 2 * tile;
  for (var j = 0u; j < p.start; j++) {
    let a = errors[at_error];
    let b = errors[at_error + 1];
    let m = panel[at_panel];
    let n = panel[at_panel + 1];
    a0 += a * m.x; a1 += a * m.y; a2 += a * m.z; a3 += a * m.w;
    a4 += a * n.x; a5 += a * n.y; a6 += a * n.z; a7 += a * n.w;
    b0 += b * m.x; b1 += b * m.y; b2 += b * m.z; b3 += b * m.w;
    b4 += b * n.x; b5 += b * n.y; b6 += b * n.z; b7 += b * n.w;
    at_error += p.row_quads;
    at_panel += p.panel_quads;
  }
  store_fed(8 * tile, row, a0, b0);
  store_fed(8 * tile + 1, row, a1, b1);
  store_fed(8 * tile + 2, row, a2, b2);
  store_fed(8 * tile + 3, row, a3, b3);
  store_fed(8 * tile + 4, row, a4, b4);
  store_fed(8 * tile + 5, row, a5, b5);
  store_fed(8 * tile + 6, row, a6, b6);
  store_fed(8 * tile + 7, row, a7, b7);
}

fn store_fed(column: u32, row: u32, a: vec4f, b: vec4f) {
  if (p.start + column >= p.to) { return; }
  let at = (p.start + column) * p.row_quads + row;
  fed[column * p.row_quads + row] = weights[at] + a;
  fed[column * p.row_quads + row + 1] = weights[at + 1] + b;
}

@group(0) @binding(5) var<storage, read> scales: array<vec4f>; // (groups, row_quads)
@group(0) @binding(6) var<storage, read> zeros: array<vec4f>; // (groups, row_quads)
@group(0) @binding(7) var<storage, read_write> values: array<vec4f>; // w' of kept columns: (columns of panel, row_quads)
// For each quad of rows: its codes, a byte each; the sum of its (w' − ŵ)², as bits. (cols, row_quads)
@group(0) @binding(8) var<storage, read_write> results: array<vec2u>;

// A lane takes 4 rows and goes through the block's columns 8 by 8.
@compute @workgroup_size(16)
fn sweep(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = p.first + group.x + group.y * groups.x;
  let row = number * 16 + local;
  if (number >= p.end || row >= p.row_quads) { return; }
  for (var c = 0u; p.start + c < p.to; c += 8) {
    let at = c * p.row_quads + row;
    // Beyond the block's last column these are of no meaning, and `settle` makes nothing of them.
    var a0 = fed[at];
    var a1 = fed[at + p.row_quads];
    var a2 = fed[at + 2 * p.row_quads];
    var a3 = fed[at + 3 * p.row_quads];
    var a4 = fed[at + 4 * p.row_quads];
    var a5 = fed[at + 5 * p.row_quads];
    var a6 = fed[at + 6 * p.row_quads];
    var a7 = fed[at + 7 * p.row_quads];
    var at_error = p.start * p.row_quads + row;
    var at_panel = p.start * p.panel_quads + c / 4;
    for (var j = 0u; j < c; j++) {
      let e = errors[at_error];
      let m = panel[at_panel];
      let n = panel[at_panel + 1];
      a0 += e * m.x; a1 += e * m.y; a2 += e * m.z; a3 += e * m.w;
      a4 += e * n.x; a5 += e * n.y; a6 += e * n.z; a7 += e * n.w;
      at_error += p.row_quads;
      at_panel += p.panel_quads;
    }
    // The 8 columns among themselves: M is strictly upper, so each needs only what is right of it.
    let e0 = settle(c, row, a0);
    var m = panel[at_panel];
    var n = panel[at_panel + 1];
    a1 += e0 * m.y; a2 += e0 * m.z; a3 += e0 * m.w; a4 += e0 * n.x; a5 += e0 * n.y; a6 += e0 * n.z; a7 += e0 * n.w;
    let e1 = settle(c + 1, row, a1);
    at_panel += p.panel_quads;
    m = panel[at_panel];
    n = panel[at_panel + 1];
    a2 += e1 * m.z; a3 += e1 * m.w; a4 += e1 * n.x; a5 += e1 * n.y; a6 += e1 * n.z; a7 += e1 * n.w;
    let e2 = settle(c + 2, row, a2);
    at_panel += p.panel_quads;
    m = panel[at_panel];
    n = panel[at_panel + 1];
    a3 += e2 * m.w; a4 += e2 * n.x; a5 += e2 * n.y; a6 += e2 * n.z; a7 += e2 * n.w;
    let e3 = settle(c + 3, row, a3);
    at_panel += p.panel_quads;
    n = panel[at_panel + 1];
    a4 += e3 * n.x; a5 += e3 * n.y; a6 += e3 * n.z; a7 += e3 * n.w;
    let e4 = settle(c + 4, row, a4);
    at_panel += p.panel_quads;
    n = panel[at_panel + 1];
    a5 += e4 * n.y; a6 += e4 * n.z; a7 += e4 * n.w;
    let e5 = settle(c + 5, row, a5);
    at_panel += p.panel_quads;
    n = panel[at_panel + 1];
    a6 += e5 * n.z; a7 += e5 * n.w;
    let e6 = settle(c + 6, row, a6);
    at_panel += p.panel_quads;
    a7 += e6 * panel[at_panel + 1].w;
    settle(c + 7, row, a7);
  }
}

// Rounds column c of the block, or keeps it; stores what became of it and gives back w − ŵ.
fn settle(c: u32, row: u32, w: vec4f) -> vec4f {
  let column = p.start + c;
  if (column >= p.to) { return vec4f(0); }
  let at = column * p.row_quads + row;
  var value = w;
  if (p.keep == 1) {
    values[c * p.row_quads + row] = w;
  } else {
    var grid = row;
    if (p.group_size > 0) { grid += column / p.group_size * p.row_quads; }
    let scale = scales[grid];
    let zero = zeros[grid];
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
