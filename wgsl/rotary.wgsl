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
@group(0) @binding(6) var<storage, read_write> queries: array<f32>; // (vectors, HEADS, QUADS · 4)
@group(0) @binding(7) var<storage, read_write> keys: array<f32>; // (KEY_HEADS, QUADS, CAPACITY, 4)
@group(0) @binding(8) var<storage, read_write> values: array<f32>; // (KEY_HEADS, CAPACITY, QUADS, 4)

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

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let padded = QUADS * 4;
  let index = (group.x + group.y * groups.x) * 32 + local;
  let heads = HEADS + 2 * KEY_HEADS;
  let row = index / (heads * padded);
  if (row >= step.vectors) { return; }
  let head = index / padded % heads;
  let i = index % padded;
  let position = step.start + row;
  var x = 0f;
  if (i < DIM) {
    x = given(row, head, i);
    if (ROTATE == 1 && head < HEADS + KEY_HEADS) {
      let half = DIM / 2;
      let turn = turns[position * half + i % half];
      if (i < half) { x = x * turn.x - given(row, head, i + half) * turn.y; }
      else { x = x * turn.x + given(row, head, i - half) * turn.y; }
    }
  }
  if (head < HEADS) {
    queries[(row * HEADS + head) * padded + i] = x * SCALE;
  } else if (head < HEADS + KEY_HEADS) {
    keys[(((head - HEADS) * QUADS + i / 4) * CAPACITY + position) * 4 + i % 4] = x;
  } else {
    values[((head - HEADS - KEY_HEADS) * CAPACITY + position) * padded + i] = x;
  }
}
