// The likeliest token, chosen on the device, so that one token after another can be written without a word from the host
// (lib/kernels/argmax.ts).

struct Step { start: u32, vectors: u32 }

override FIRST: u32; // the logits are those of tokens FIRST … FIRST + ROWS − 1
override ROWS: u32;
override AT: u32; // where this part's winners begin
override COUNT: u32; // winners of all parts

const LANES = 256u;
const BROKEN = 0xffffffffu; // in place of a token: some logit is not finite

@group(0) @binding(0) var<storage, read> logits: array<u32>; // (ROWS) float32, looked at as bits
@group(0) @binding(1) var<storage, read_write> winners: array<vec2u>; // (COUNT): bits of a logit, its token

@compute @workgroup_size(64)
fn scan(@builtin(global_invocation_id) id: vec3u) {
  var best = -3.4e38;
  var token = FIRST + min(id.x, ROWS - 1);
  var broken = false;
  for (var j = id.x; j < ROWS; j += LANES) {
    let bits = logits[j];
    broken = broken || (bits & 0x7fffffff) >= 0x7f800000;
    let x = bitcast<f32>(bits);
    if (x > best) {
      best = x;
      token = FIRST + j;
    }
  }
  winners[AT + id.x] = vec2u(bitcast<u32>(best), select(token, BROKEN, broken));
}

@group(0) @binding(2) var<uniform> step: Step;
@group(0) @binding(3) var<storage, read_write> ids: array<u32>; // the next pass reads its token here
@group(0) @binding(4) var<storage, read_write> written: array<u32>; // (positions) what follows each

@compute @workgroup_size(1)
fn pick() {
  var best = bitcast<f32>(winners[0].x);
  var token = winners[0].y;
  for (var i = 1u; i < COUNT; i++) {
    let x = bitcast<f32>(winners[i].x);
    let other = winners[i].y;
    if (token != BROKEN && (other == BROKEN || x > best || (x == best && other < token))) {
      best = x;
      token = other;
    }
  }
  ids[0] = token;
  written[step.start] = token;
}
