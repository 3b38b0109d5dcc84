// Attention for GPUs: a workgroup takes a query of a head, goes over its keys 128 at a time and keeps a running softmax
// (lib/kernels/attention_group.ts).

struct Step { start: u32, vectors: u32 }

override HEADS: u32;
override KEY_HEADS: u32;
override DIM: u32;
override QUADS: u32; // ceil(DIM / 4), at most 128
override CAPACITY: u32;
override WINDOW: u32;
override BIASED: u32;

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> queries: array<vec4f>; // (vectors, HEADS, QUADS)
@group(0) @binding(2) var<storage, read> keys: array<vec4f>; // (KEY_HEADS, QUADS, CAPACITY)
@group(0) @binding(3) var<storage, read> bias: array<f32>; // (HEADS, CAPACITY)
@group(0) @binding(4) var<storage, read> values: array<vec4f>; // (KEY_HEADS, CAPACITY, QUADS)
@group(0) @binding(5) var<storage, read_write> mixed: array<f32>; // (vectors, HEADS, DIM)

const LANES = 128u;
var<workgroup> query: array<vec4f, LANES>;
var<workgroup> shares: array<f32, LANES>;
var<workgroup> scratch: array<f32, LANES>;
var<workgroup> parts: array<vec4f, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let head = group.x;
  let row = group.y;
  let position = step.start + row;
  let first = select(0, position + 1 - min(WINDOW, position + 1), WINDOW > 0);
  let key_head = head / (HEADS / KEY_HEADS);
  if (local < QUADS) { query[local] = queries[(row * HEADS + head) * QUADS + local]; }
  workgroupBarrier();
  // A lane mixes quad `local % QUADS` over every PARTS-th key of a tile.
  let part_count = LANES / QUADS;
  let quad = local % QUADS;
  let part = local / QUADS;
  var most = -1e38;
  var total = 0f;
  var sum = vec4f(0);
  for (var tile = first; tile <= position; tile += LANES) {
    let key = tile + local;
    var score = -1e38;
    if (key <= position) {
      var dot4 = vec4f(0);
      for (var i = 0u; i < QUADS; i++) { dot4 += query[i] * keys[(key_head * QUADS + i) * CAPACITY + key]; }
      score = dot4.x + dot4.y + dot4.z + dot4.w;
      if (BIASED == 1) { score += bias[head * CAPACITY + key]; }
    }
    scratch[local] = score;
    workgroupBarrier();
    for (var half = LANES / 2; half > 0; half /= 2) {
      if (local < half) { scratch[local] = max(scratch[local], scratch[local + half]); }
      workgroupBarrier();
    }
    let larger = max(most, scratch[0]);
    let shrink = exp(most - larger);
    most = larger;
    shares[local] = select(0, exp(score - most), key <= position);
    workgroupBarrier();
    sum *= shrink;
    total *= shrink;
    let count = min(LANES, position + 1 - tile);
    for (var s = 0u; s < count; s++) { total += shares[s]; }
    if (part < part_count) {
      for (var s = part; s < count; s += part_count) {
        sum += shares[s] * values[(key_head * CAPACITY + tile + s) * QUADS + quad];
      }
    }
    workgroupBarrier();
  }
  parts[local] = sum;
  workgroupBarrier();
  if (part == 0) {
    for (var p = 1u; p < part_count; p++) { sum += parts[p * QUADS + quad]; }
    sum /= total;
    let out = (row * HEADS + head) * DIM + quad * 4;
    for (var i = 0u; i < min(4, DIM - quad * 4); i++) { mixed[out + i] = sum[i]; }
  }
}
