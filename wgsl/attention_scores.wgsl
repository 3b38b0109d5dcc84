// Attention without barriers, first half: the score of each key for each query, one lane a score
// (lib/kernels/attention_scores.ts).

struct Step { start: u32, vectors: u32 }

override HEADS: u32;
override KEY_HEADS: u32;
override QUADS: u32; // vec4s a head
override CAPACITY: u32; // positions in the cache
override WINDOW: u32; // how many tokens back a query sees, itself included; 0: all
override BIASED: u32; // 1: alibi

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> queries: array<vec4f>; // (vectors, HEADS, QUADS)
@group(0) @binding(2) var<storage, read> keys: array<vec4f>; // (KEY_HEADS, QUADS, CAPACITY)
@group(0) @binding(3) var<storage, read> bias: array<f32>; // (HEADS, CAPACITY)
@group(0) @binding(4) var<storage, read_write> scores: array<f32>; // (vectors, HEADS, CAPACITY); keys out of sight stay unwritten

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = group.z;
  let head = group.y;
  let position = step.start + row;
  // The window may begin anywhere; the grid counts from the first key that the first query sees.
  let origin = select(0, step.start + 1 - min(WINDOW, step.start + 1), WINDOW > 0);
  let first = select(0, position + 1 - min(WINDOW, position + 1), WINDOW > 0);
  let key = origin + group.x * 32 + local;
  if (key < first || key > position) { return; }
  let at_q = (row * HEADS + head) * QUADS;
  let at_k = head / (HEADS / KEY_HEADS) * QUADS * CAPACITY + key;
  var sum = vec4f(0);
  for (var i = 0u; i < QUADS; i++) { sum += queries[at_q + i] * keys[at_k + i * CAPACITY]; }
  var score = sum.x + sum.y + sum.z + sum.w;
  if (BIASED == 1) { score += bias[head * CAPACITY + key]; }
  scores[(row * HEADS + head) * CAPACITY + key] = score;
}
