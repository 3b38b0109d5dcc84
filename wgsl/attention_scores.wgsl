// Attention for software drivers, first half: the scores of keys for queries (lib/kernels/attention_scores.ts). No barrier;
// a lane takes four keys, and for them up to four of the query heads that share them, so that a texel serves several.

struct Step { start: u32, vectors: u32 }

override HEADS: u32;
override KEY_HEADS: u32;
override QUADS: u32; // vec4s a head
override CAPACITY: u32; // positions in the cache
override WINDOW: u32; // how many tokens back a query sees, itself included; 0: all
override BIASED: u32; // 1: alibi
override PER: u32 = HEADS / KEY_HEADS;

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var queries: texture_storage_2d<rgba32float, read>; // (QUADS, vectors · HEADS)
@group(0) @binding(2) var keys: texture_storage_2d<rgba32float, read>; // (1024, KEY_HEADS · QUADS · folds)
@group(0) @binding(3) var<storage, read> bias: array<f32>; // (HEADS, CAPACITY)
@group(0) @binding(4) var scores: texture_storage_2d<rgba32float, write>; // of 4 keys: (1024, vectors · HEADS · folds)

fn first_key(position: u32) -> u32 {
  return select(0, position + 1 - min(WINDOW, position + 1), WINDOW > 0);
}

fn store(row: u32, head: u32, quad: u32, four: vec4f) {
  let position = step.start + row;
  var score = four;
  if (BIASED == 1) {
    let at = head * CAPACITY + quad * 4;
    for (var i = 0u; i < 4; i++) { score[i] += bias[min(at + i, HEADS * CAPACITY - 1)]; }
  }
  let key = vec4u(quad * 4) + vec4u(0, 1, 2, 3);
  let seen = (key >= vec4u(first_key(position))) & (key <= vec4u(position));
  let folds = (CAPACITY + 4095) / 4096;
  textureStore(scores, vec2u(quad % 1024, (row * HEADS + head) * folds + quad / 1024), select(vec4f(-1e30), score, seen));
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = group.z;
  let quad = first_key(step.start) / 4 + group.x * 8 + local;
  if (quad * 4 > step.start + row) { return; }
  let key_head = group.y;
  let folds = (CAPACITY + 1023) / 1024;
  let x = (quad * 4) % 1024;
  for (var h = 0u; h < PER; h += 4) {
    let line = row * HEADS + key_head * PER + h;
    var a = vec4f(0);
    var b = vec4f(0);
    var c = vec4f(0);
    var d = vec4f(0);
    for (var i = 0u; i < QUADS; i++) {
      let y = (key_head * QUADS + i) * folds + quad * 4 / 1024;
      let k = mat4x4f(textureLoad(keys, vec2u(x, y)), textureLoad(keys, vec2u(x + 1, y)),
        textureLoad(keys, vec2u(x + 2, y)), textureLoad(keys, vec2u(x + 3, y)));
      a += textureLoad(queries, vec2u(i, line)) * k;
      if (PER > 1) { b += textureLoad(queries, vec2u(i, line + 1)) * k; }
      if (PER > 2) { c += textureLoad(queries, vec2u(i, line + 2)) * k; }
      if (PER > 3) { d += textureLoad(queries, vec2u(i, line + 3)) * k; }
    }
    let head = key_head * PER + h;
    store(row, head, quad, a);
    if (h + 1 < PER) { store(row, head + 1, quad, b); }
    if (h + 2 < PER) { store(row, head + 2, quad, c); }
    if (h + 3 < PER) { store(row, head + 3, quad, d); }
  }
}
