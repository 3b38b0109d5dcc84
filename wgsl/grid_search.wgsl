// Grid search, first half: for each row and each step i (scale i · unit), bounds on the mean |w − ŵ|^2.4 at the four zero
// points that can matter, and on all others together. The host then scores the one or two candidates that are left
// (lib/kernels/grid_search.ts). All scores are sums in half units: (2 |w − ŵ| / unit)^2.4.
//
// A lane takes 4 steps of one row, so that a weight, once loaded, serves four; 8 neighbouring lanes take 32 steps in a row.
// The host sorts a row by size, so that the weights that are clipped come first, in a loop of their own: a software driver
// runs both sides of an `if`, whatever its lanes want.

struct Params {
  first: u32, // workgroups of this submission: first … end − 1
  end: u32,
  rows: u32,
  quads: u32, // vec4s a row, padded with zeros
  steps: u32,
  lanes: u32, // a row: 8 for each 32 steps
  top_code: f32, // 2^b − 1
  levels: f32, // 2^b − 1, or 2^(b−1) on a symmetric grid
  fixed_zero: f32, // the zero point of a symmetric grid, or −1
  slack: f32, // what the polynomial may be off by: its bound times the length of a row
  relative: f32, // what all roundings together may be off by
}

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> weights: array<vec4f>; // (rows, quads), each row by falling size
@group(0) @binding(2) var<storage, read> ranges: array<vec4f>; // (rows): R / steps, −min, max, a score that some candidate has
@group(0) @binding(3) var<storage, read_write> scores: array<vec4f>; // (rows, steps, 2): scores of z0 … z0 + 3; z0, bounds

const NONE = 3e38;

// One lane's sums. A vec4 holds its four steps; what clipping adds is apart by zero point and by the sign of the weight.
struct Sums {
  rounded: vec4f,
  above0: vec4f, above1: vec4f, above2: vec4f, above3: vec4f,
  below0: vec4f, below1: vec4f, below2: vec4f, below3: vec4f,
}

// (2 (a − m))^2.4 in place of f where the level r lies beyond the last level m.
fn clipped(a: vec4f, r: vec4f, f: vec4f, m: vec4f) -> vec4f {
  return select(vec4f(0), exp2(2.4 * log2(max(2 * (a - m), vec4f(1)))) - f, r > m);
}

// x^2.4 on [0, 1], to 2.61e-4 (NEAR in lib/kernels/grid_moments.ts)
fn near(x: vec4f) -> vec4f {
  return 2.6078962748e-4 + x * (-0.02175750601484905 + x * (0.5037391604326272 + x * (0.6665374766510415 - x * 0.14904071032378194)));
}

// A weight that no step clips at any of the zero points.
fn inside(w: f32, inverse: vec4f) -> vec4f {
  let a = abs(w) * inverse;
  return near(2 * abs(a - round(a)));
}

// Any weight. `high` and `low`: levels above and below zero at zero point z0; the next has one less and one more.
fn add(s: ptr<function, Sums>, w: f32, inverse: vec4f, high: vec4f, low: vec4f) {
  let a = abs(w) * inverse;
  let r = round(a);
  let f = near(2 * abs(a - r));
  (*s).rounded += f;
  let up = select(0.0, 1.0, w >= 0);
  let way = 1 - 2 * up;
  let m = select(low, high, w >= 0);
  let c0 = clipped(a, r, f, m);
  let c1 = clipped(a, r, f, m + way);
  let c2 = clipped(a, r, f, m + 2 * way);
  let c3 = clipped(a, r, f, m + 3 * way);
  (*s).above0 += up * c0;
  (*s).above1 += up * c1;
  (*s).above2 += up * c2;
  (*s).above3 += up * c3;
  (*s).below0 += (1 - up) * c0;
  (*s).below1 += (1 - up) * c1;
  (*s).below2 += (1 - up) * c2;
  (*s).below3 += (1 - up) * c3;
}

// The least score that is still possible: zero points beyond the four clip more on one side, and no less than nothing on
// the other.
fn least_of(s: ptr<function, Sums>, high: vec4f, low: vec4f) -> vec4f {
  let of_four = min(
    min((*s).above0 + (*s).below0, (*s).above1 + (*s).below1),
    min((*s).above2 + (*s).below2, (*s).above3 + (*s).below3),
  );
  let beyond = min(select((*s).above3, vec4f(NONE), high == vec4f(3)), select((*s).below0, vec4f(NONE), low == vec4f(0)));
  return (*s).rounded + min(of_four, beyond);
}

@compute @workgroup_size(64)
fn bound(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let number = p.first + group.x + group.y * groups.x;
  let lane = number * 64 + local;
  let row = lane / p.lanes;
  if (number >= p.end || row >= p.rows) { return; }
  let of_row = lane % p.lanes;
  // Steps below 1 do not exist; they do the work of step 1 and are not stored.
  let wanted = vec4i(i32(p.steps) - i32(of_row / 8 * 32 + of_row % 8)) - vec4i(0, 8, 16, 24);
  let step = vec4f(max(wanted, vec4i(1)));
  let range = ranges[row];
  let t = range.x * step;
  let inverse = p.levels / t;
  // The range of width t that clips the longer side first; its zero point is near the best one.
  let reach = min(vec4f(range.y), max(0.5 * t, t - range.z));
  var z0 = clamp(round(reach * inverse - 1.5), vec4f(0), vec4f(p.top_code - 3));
  if (p.fixed_zero >= 0) { z0 = vec4f(min(p.fixed_zero - 1, p.top_code - 3)); }
  let high = p.top_code - z0; // levels above zero at zero point z0; below zero there are z0
  let unit = exp2(2.4 * log2(step));
  let limit = (range.w + p.slack * unit) / ((1 - p.relative) * unit); // a sum beyond this cannot win

  // Weights come by falling size, to a 64th of the largest: once none is clipped, none after it is. Steps whose score is
  // past the limit no longer count; small steps, which clip the most, are past it first.
  let clips = 0.999 * (min(high - 3, z0) + 0.5) / inverse;
  let bin = max(range.y, range.z) / 64;
  var alive = wanted >= vec4i(1);
  var enough = -NONE;

  var s: Sums;
  var at = row * p.quads;
  let last = at + p.quads;
  while (at < last && any(alive) && abs(weights[at].x) + bin >= enough) {
    let stop = min(at + 4, last);
    while (at < stop) {
      let w = weights[at];
      add(&s, w.x, inverse, high, z0);
      add(&s, w.y, inverse, high, z0);
      add(&s, w.z, inverse, high, z0);
      add(&s, w.w, inverse, high, z0);
      at += 1;
    }
    alive = alive & (least_of(&s, high, z0) <= limit);
    let clip = select(vec4f(NONE), clips, alive);
    enough = min(min(clip.x, clip.y), min(clip.z, clip.w));
  }
  while (at < last && any(alive)) {
    let stop = min(at + 8, last);
    while (at < stop) {
      let w = weights[at];
      s.rounded += inside(w.x, inverse) + inside(w.y, inverse) + inside(w.z, inverse) + inside(w.w, inverse);
      at += 1;
    }
    alive = alive & (least_of(&s, high, z0) <= limit);
  }
  let sum0 = unit * (s.rounded + s.above0 + s.below0);
  let sum1 = unit * (s.rounded + s.above1 + s.below1);
  let sum2 = unit * (s.rounded + s.above2 + s.below2);
  let sum3 = unit * (s.rounded + s.above3 + s.below3);
  let beyond_high = unit * select(s.rounded + s.above3, vec4f(NONE), high == vec4f(3));
  let beyond_low = unit * select(s.rounded + s.below0, vec4f(NONE), z0 == vec4f(0));
  let base = row * p.steps;
  for (var k = 0u; k < 4; k++) {
    if (wanted[k] < 1) { continue; }
    let to = 2 * (base + u32(wanted[k]) - 1);
    if (alive[k]) {
      scores[to] = vec4f(sum0[k], sum1[k], sum2[k], sum3[k]);
      scores[to + 1] = vec4f(z0[k], beyond_low[k], beyond_high[k], 0);
    } else {
      scores[to] = vec4f(NONE);
      scores[to + 1] = vec4f(z0[k], NONE, NONE, 0);
    }
  }
}
