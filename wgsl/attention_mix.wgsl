// Attention for software drivers, second half: values mixed by the softmax of their scores (lib/kernels/attention_mix.ts).
// A lane takes four numbers of up to four query heads that share the values.

struct Step { start: u32, vectors: u32 }

override HEADS: u32;
override KEY_HEADS: u32;
override DIM: u32;
override QUADS: u32; // ceil(DIM / 4)
override CAPACITY: u32;
override WINDOW: u32;
override PER: u32 = HEADS / KEY_HEADS;

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var scores: texture_storage_2d<rgba32float, read>; // of 4 keys: (1024, vectors · HEADS · folds)
@group(0) @binding(2) var values: texture_storage_2d<rgba32float, read>; // (1024, KEY_HEADS · QUADS · folds)
@group(0) @binding(3) var<storage, read_write> mixed: array<f32>; // (vectors, HEADS, DIM)

fn score(line: u32, quad: u32) -> vec4f {
  return textureLoad(scores, vec2u(quad % 1024, line * ((CAPACITY + 4095) / 4096) + quad / 1024));
}

fn most_of(line: u32, from_quad: u32, to_quad: u32) -> f32 {
  var most = vec4f(-1e30);
  for (var q = from_quad; q <= to_quad; q++) { most = max(most, score(line, q)); }
  return max(max(most.x, most.y), max(most.z, most.w));
}

fn store(line: u32, quad: u32, sum: vec4f, shares: vec4f) {
  let out = sum / (shares.x + shares.y + shares.z + shares.w);
  let at = line * DIM + quad * 4;
  for (var i = 0u; i < min(4, DIM - quad * 4); i++) { mixed[at + i] = out[i]; }
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = group.y;
  let key_head = (group.x * 8 + local) / QUADS;
  let quad = (group.x * 8 + local) % QUADS;
  if (key_head >= KEY_HEADS) { return; }
  let position = step.start + row;
  let first = select(0, position + 1 - min(WINDOW, position + 1), WINDOW > 0);
  let from_quad = first / 4;
  let to_quad = position / 4;
  let folds = (CAPACITY + 1023) / 1024;
  let y = (key_head * QUADS + quad) * folds;
  for (var h = 0u; h < PER; h += 4) {
    let line = row * HEADS + key_head * PER + h;
    // A head beyond the last repeats the one before it and is not stored.
    let l1 = min(line + 1, row * HEADS + (key_head + 1) * PER - 1);
    let l2 = min(line + 2, row * HEADS + (key_head + 1) * PER - 1);
    let l3 = min(line + 3, row * HEADS + (key_head + 1) * PER - 1);
    let m0 = most_of(line, from_quad, to_quad);
    var m1 = 0f;
    var m2 = 0f;
    var m3 = 0f;
    if (PER > 1) { m1 = most_of(l1, from_quad, to_quad); }
    if (PER > 2) { m2 = most_of(l2, from_quad, to_quad); }
    if (PER > 3) { m3 = most_of(l3, from_quad, to_quad); }
    var a = vec4f(0); var b = vec4f(0); var c = vec4f(0); var d = vec4f(0);
    var ta = vec4f(0); var tb = vec4f(0); var tc = vec4f(0); var td = vec4f(0);
    for (var q = from_quad; q <= to_quad; q++) {
      // Keys out of sight have a share of 0, which stays 0 only beside a number: another key's value stands in.
      let key = clamp(vec4u(q * 4) + vec4u(0, 1, 2, 3), vec4u(first), vec4u(position));
      let v = mat4x4f(textureLoad(values, vec2u(key.x % 1024, y + key.x / 1024)),
        textureLoad(values, vec2u(key.y % 1024, y + key.y / 1024)),
        textureLoad(values, vec2u(key.z % 1024, y + key.z / 1024)),
        textureLoad(values, vec2u(key.w % 1024, y + key.w / 1024)));
      let sa = exp(score(line, q) - m0);
      ta += sa;
      a += v * sa;
      if (PER > 1) { let s = exp(score(l1, q) - m1); tb += s; b += v * s; }
      if (PER > 2) { let s = exp(score(l2, q) - m2); tc += s; c += v * s; }
      if (PER > 3) { let s = exp(score(l3, q) - m3); td += s; d += v * s; }
    }
    store(line, quad, a, ta);
    if (h + 1 < PER) { store(line + 1, quad, b, tb); }
    if (h + 2 < PER) { store(line + 2, quad, c, tc); }
    if (h + 3 < PER) { store(line + 3, quad, d, td); }
  }
}
