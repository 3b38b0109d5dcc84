// What the last linear of an MLP reads: act(gate) · up, or act(up), biases added first (lib/kernels/activation.ts).

struct Step { start: u32, vectors: u32 }

override WIDTH: u32;
override KIND: u32; // 0: SiLU, 1: ReLU, 2: GELU, 3: GELU by tanh
override GATED: u32;
override BIASED: u32;
override GATE_ROW: u32; override GATE_AT: u32; // gate of vector t begins at t · GATE_ROW + GATE_AT
override UP_ROW: u32; override UP_AT: u32;

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> gate: array<f32>;
@group(0) @binding(2) var<storage, read> up: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>; // of up, then of gate: (1 or 2, WIDTH)
@group(0) @binding(4) var<storage, read_write> out: array<f32>; // (vectors, WIDTH)

// 1 / (1 + e^−x); e^88 is the last that float32 holds.
fn sigmoid(x: f32) -> f32 { return 1 / (1 + exp(min(-x, 88))); }

// erfc(x) for x ≥ 0, to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26)
fn erfc_of(x: f32) -> f32 {
  let t = 1 / (1 + 0.3275911 * x);
  return t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * exp(-x * x);
}

fn act(x: f32) -> f32 {
  switch (KIND) {
    case 1: { return max(x, 0); }
    case 2: {
      let tail = 0.5 * erfc_of(min(abs(x) * 0.7071067811865476, 9)); // e^−81 is nothing beside 1
      return x * select(tail, 1 - tail, x > 0);
    }
    case 3: { return x * sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x)); } // ½(1 + tanh u) = sigmoid(2u)
    default: { return x * sigmoid(x); }
  }
}

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (group.x + group.y * groups.x) * 32 + local;
  let row = index / WIDTH;
  let i = index % WIDTH;
  if (row >= step.vectors) { return; }
  var u = up[row * UP_ROW + UP_AT + i];
  if (BIASED == 1) { u += bias[i]; }
  if (GATED == 1) {
    var g = gate[row * GATE_ROW + GATE_AT + i];
    if (BIASED == 1) { g += bias[WIDTH + i]; }
    out[index] = act(g) * u;
  } else {
    out[index] = act(u);
  }
}
