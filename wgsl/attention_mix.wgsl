// Attention without barriers, second half: the values mixed by the softmax of their scores, four outputs a lane
// (lib/kernels/attention_mix.ts).

struct Step { start: u32, vectors: u32 }

override HEADS: u32;
override KEY_HEADS: u32;
override DIM: u32;
override QUADS: u32; // ceil(DIM / 4)
override CAPACITY: u32;
override WINDOW: u32;

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> scores: array<f32>; // (vectors, HEADS, CAPACITY)
@group(0) @binding(2) var<storage, read> values: array<vec4f>; // (KEY_HEADS, CAPACITY, QUADS)
@group(0) @binding(3) var<storage, read_write> mixed: array<f32>; // (vectors, HEADS, DIM)

@compute @workgroup_size(16)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = group.y;
  let head = (group.x * 16 + local) / QUADS;
  let quad = (group.x * 16 + local) % QUADS;
  if (head >= HEADS) { return; }
  let position = step.start + row;
  let first = select(0, position + 1 - min(WINDOW, position + 1), WINDOW > 0);
  let at = (row * HEADS + head) * CAPACITY;
  var most = scores[at + first];
  for (var s = first + 1; s <= position; s++) { most = max(most, scores[at + s]); }
  let at_v = head / (HEADS / KEY_HEADS) * CAPACITY;
  var total = 0f;
  var sum = vec4f(0);
  for (var s = first; s <= position; s++) {
    let share = exp(scores[at + s] - most);
    total += share;
    sum += share * values[(at_v + s) * QUADS + quad];
  }
  sum /= total;
  let out = (row * HEADS + head) * DIM + quad * 4;
  for (var i = 0u; i < min(4, DIM - quad * 4); i++) { mixed[out + i] = sum[i]; }
}
