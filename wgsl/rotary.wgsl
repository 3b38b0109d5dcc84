// From what the query, key and value linears gave to what attention reads: adds biases, turns queries and keys by their
// positions, scales queries, puts keys and values into the cache (lib/kernels/rotary.ts).

struct Step { start: u32, vectors: u32 }

override HEADS: u32;
override KEY_HEADS: u32;
override DIM: u32; // of a head
override QUADS: u32; // ceil(DIM / 4)
override CAPACITY: u32; // positions in the cache
override SCALE: f32; // of the queries
override ROTATE: u32;
override BIASED: u32;
// Where head (key head, query head of it) begins: row · ROW + AT + key head · STEP + query head of it · DIM.
override Q_ROW: u32; override Q_AT: u32; override Q_STEP: u32;
override K_ROW: u32; override K_AT: u32; override K_STEP: u32;
override V_ROW: u32; override V_AT: u32; override V_STEP: u32;

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> q: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>; // (HEADS + 2 KEY_HEADS, DIM): of queries, keys, values
@group(0) @binding(5) var<storage, read> turns: array<vec2f>; // (CAPACITY, DIM / 2): cos, sin
// For GPUs.
@group(0) @binding(6) var<storage, read_write> queries: array<vec4f>; // (vectors, HEADS, QUADS)
@group(0) @binding(7) var<storage, read_write> keys: array<vec4f>; // (KEY_HEADS, QUADS, CAPACITY)
@group(0) @binding(8) var<storage, read_write> values: array<vec4f>; // (KEY_HEADS, CAPACITY, QUADS)
// For software drivers, which read a texel five times as fast as four numbers of a buffer (wgsl/matvec_lane.wgsl).
@group(0) @binding(9) var query_texels: texture_storage_2d<rgba32float, write>; // (QUADS, vectors · HEADS)
@group(0) @binding(10) var key_texels: texture_storage_2d<rgba32float, write>; // (1024, KEY_HEADS · QUADS · folds)
@group(0) @binding(11) var value_texels: texture_storage_2d<rgba32float, write>; // likewise

fn given(row: u32, head: u32, i: u32) -> f32 {
  var x = 0f;
  if (head < HEADS) {
    let per_key = HEADS / KEY_HEADS;
    x = q[row * Q_ROW + Q_AT + head / per_key * Q_STEP + head % per_key * DIM + i];
  } else if (head < HEADS + KEY_HEADS) {
    x = k[row * K_ROW + K_AT + (head - HEADS) * K_STEP + i];
  } else {
    x = v[row * V_ROW + V_AT + (head - HEADS - KEY_HEADS) * V_STEP + i];
  }
  if (BIASED == 1) { x += bias[head * DIM + i]; }
  return x;
}

fn turned(row: u32, head: u32, i: u32) -> f32 {
  if (i >= DIM) { return 0; }
  var x = given(row, head, i);
  if (ROTATE == 1 && head < HEADS + KEY_HEADS) {
    let half = DIM / 2;
    let turn = turns[(step.start + row) * half + i % half];
    if (i < half) { x = x * turn.x - given(row, head, i + half) * turn.y; }
    else { x = x * turn.x + given(row, head, i - half) * turn.y; }
  }
  return select(x, x * SCALE, head < HEADS);
}

struct Place { row: u32, head: u32, quad: u32 }

fn place_of(index: u32) -> Place {
  let heads = HEADS + 2 * KEY_HEADS;
  return Place(index / (heads * QUADS), index / QUADS % heads, index % QUADS);
}

fn four(p: Place) -> vec4f {
  let i = p.quad * 4;
  return vec4f(turned(p.row, p.head, i), turned(p.row, p.head, i + 1), turned(p.row, p.head, i + 2), turned(p.row, p.head, i + 3));
}

@compute @workgroup_size(64)
fn group(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let p = place_of((group.x + group.y * groups.x) * 64 + local);
  if (p.row >= step.vectors) { return; }
  let position = step.start + p.row;
  if (p.head < HEADS) {
    queries[(p.row * HEADS + p.head) * QUADS + p.quad] = four(p);
  } else if (p.head < HEADS + KEY_HEADS) {
    keys[((p.head - HEADS) * QUADS + p.quad) * CAPACITY + position] = four(p);
  } else {
    values[((p.head - HEADS - KEY_HEADS) * CAPACITY + position) * QUADS + p.quad] = four(p);
  }
}

@compute @workgroup_size(8)
fn lanes(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let p = place_of((group.x + group.y * groups.x) * 8 + local);
  if (p.row >= step.vectors) { return; }
  let position = step.start + p.row;
  if (p.head < HEADS) {
    textureStore(query_texels, vec2u(p.quad, p.row * HEADS + p.head), four(p));
    return;
  }
  let folds = (CAPACITY + 1023) / 1024;
  let line = (((p.head - HEADS) % KEY_HEADS) * QUADS + p.quad) * folds + position / 1024;
  if (p.head < HEADS + KEY_HEADS) { textureStore(key_texels, vec2u(position % 1024, line), four(p)); }
  else { textureStore(value_texels, vec2u(position % 1024, line), four(p)); }
}
