// What the likelihood of a token needs of a part of the vocabulary: the largest logit, the sum of exponentials, the
// token's own logit; each lane takes every 64th logit, the host joins them (lib/kernels/token_nll.ts).

override FIRST: u32; // the part holds tokens FIRST … FIRST + ROWS − 1
override ROWS: u32;

@group(0) @binding(0) var<storage, read> logits: array<f32>; // (vectors, ROWS)
@group(0) @binding(1) var<storage, read> targets: array<u32>; // (vectors)
@group(0) @binding(2) var<storage, read_write> parts: array<vec4f>; // (vectors, 64): largest, Σ e^(logit − largest), own logit, 0

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) local: u32) {
  let at = group.x * ROWS;
  var most = -1e38;
  for (var j = local; j < ROWS; j += 64) { most = max(most, logits[at + j]); }
  var sum = 0f;
  for (var j = local; j < ROWS; j += 64) { sum += exp(logits[at + j] - most); }
  let own = targets[group.x] - FIRST; // of another part: beyond ROWS, by wrapping around
  var logit = 0f;
  if (own < ROWS && own % 64 == local) { logit = logits[at + own]; }
  parts[group.x * 64 + local] = vec4f(most, sum, logit, 0);
}
