// The residual stream between two layers: adds what the last ones gave, norms the sum, hands both on
// (lib/kernels/norm.ts).

struct Step { start: u32, vectors: u32 }

override WIDTH: u32;
override KIND: u32; // 0: no norm, 1: RMS norm, 2: layer norm
override EPS: f32;
override ADDED: u32; // 0: neither a nor b, 1: a, 2: a and b
override BIASED: u32; // 1: affine begins with a bias of what is added
override OUTPUTS: u32; // 2: the same sum under a second gain and shift
override KEEP: u32; // 1: the residual goes on normed
override LAST: u32; // 1: the last vector only, to row 0

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> residual: array<f32>; // (vectors, WIDTH), as are those that follow
@group(0) @binding(2) var<storage, read> a: array<f32>;
@group(0) @binding(3) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read> affine: array<f32>; // bias, gain, shift, second gain, second shift: those there are
@group(0) @binding(5) var<storage, read_write> sum: array<f32>;
@group(0) @binding(6) var<storage, read_write> normed: array<f32>;
@group(0) @binding(7) var<storage, read_write> normed2: array<f32>;

fn value(at: u32, j: u32) -> f32 {
  var v = residual[at + j];
  if (ADDED > 0) { v += a[at + j]; }
  if (ADDED > 1) { v += b[at + j]; }
  if (BIASED == 1) { v += affine[j]; }
  return v;
}

fn store(at: u32, to: u32, j: u32, mean: f32, scale: f32) {
  let v = value(at, j);
  let gain = BIASED * WIDTH + j;
  let shift = (KIND / 2) * WIDTH; // a layer norm's shift follows its gain
  var n = v;
  if (KIND > 0) { n = (v - mean) * scale * affine[gain]; }
  if (KIND == 2) { n += affine[gain + shift]; }
  normed[to + j] = n;
  if (OUTPUTS == 2) {
    let second = gain + shift + WIDTH;
    var n2 = (v - mean) * scale * affine[second];
    if (KIND == 2) { n2 += affine[second + shift]; }
    normed2[to + j] = n2;
  }
  sum[to + j] = select(v, n, KEEP == 1);
}

// For software drivers, where a barrier costs more than the sums: every lane adds up the whole row, no lane waits.
@compute @workgroup_size(8)
fn lane(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = select(group.x, step.vectors - 1, LAST == 1);
  let at = row * WIDTH;
  var mean = 0f;
  var scale = 1f;
  let quads = WIDTH / 4;
  if (KIND == 2) {
    var total = vec4f(0);
    for (var q = 0u; q < quads; q++) {
      let j = 4 * q;
      total += vec4f(value(at, j), value(at, j + 1), value(at, j + 2), value(at, j + 3));
    }
    for (var j = 4 * quads; j < WIDTH; j++) { total.x += value(at, j); }
    mean = (total.x + total.y + total.z + total.w) / f32(WIDTH);
  }
  if (KIND > 0) {
    var total = vec4f(0);
    for (var q = 0u; q < quads; q++) {
      let j = 4 * q;
      let v = vec4f(value(at, j), value(at, j + 1), value(at, j + 2), value(at, j + 3)) - mean;
      total += v * v;
    }
    for (var j = 4 * quads; j < WIDTH; j++) {
      let v = value(at, j) - mean;
      total.x += v * v;
    }
    scale = 1 / sqrt((total.x + total.y + total.z + total.w) / f32(WIDTH) + EPS);
  }
  for (var j = local; j < WIDTH; j += 8) { store(at, group.x * WIDTH, j, mean, scale); }
}

const LANES = 128u;
var<workgroup> partial: array<f32, LANES>;

fn total_of(local: u32, own: f32) -> f32 {
  partial[local] = own;
  workgroupBarrier();
  for (var half = LANES / 2; half > 0; half /= 2) {
    if (local < half) { partial[local] += partial[local + half]; }
    workgroupBarrier();
  }
  let total = partial[0];
  workgroupBarrier(); // nobody writes the next sum while another still reads this one
  return total;
}

// For GPUs: the lanes of a workgroup share a row.
@compute @workgroup_size(LANES)
fn group(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = select(group.x, step.vectors - 1, LAST == 1);
  let at = row * WIDTH;
  var own = 0f;
  for (var j = local; j < WIDTH; j += LANES) { own += value(at, j); }
  let mean = select(0, total_of(local, own) / f32(WIDTH), KIND == 2);
  own = 0;
  for (var j = local; j < WIDTH; j += LANES) {
    let v = value(at, j) - mean;
    own += v * v;
  }
  let scale = 1 / sqrt(total_of(local, own) / f32(WIDTH) + EPS);
  for (var j = local; j < WIDTH; j += LANES) { store(at, group.x * WIDTH, j, mean, scale); }
}
