// x as matvec_lane.wgsl wants it: columns in the order of the codes, each multiplied by the power of two that undoes the
// place of its code in a word; then those of the weak columns, as they are (lib/kernels/matvec_lane.ts).

override bits: u32 = 3;

struct Params { cols: u32, quads: u32, main_quads: u32, vectors: u32 }

@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> order: array<vec4i>; // the column at each place, −1 at none: (quads)
@group(0) @binding(2) var<storage, read> x: array<f32>; // (vectors, cols)
@group(0) @binding(3) var xs: texture_storage_2d<rgba32float, write>; // (vectors, quads), rows of 1024 texels

// Place i of 32: the bit where its code begins; 0 where the kernel brings the code down.
fn place(i: vec4u) -> vec4u {
  let bit = i * bits % 32;
  return select(bit, vec4u(0), bit + bits >= vec4u(32));
}

@compute @workgroup_size(16)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let quad = id.x;
  if (quad >= p.quads) { return; }
  let source = order[quad];
  let at = vec4i(max(source, vec4i(0))) + i32(id.y * p.cols);
  var values = vec4f(x[at.x], x[at.y], x[at.z], x[at.w]);
  if (bits <= 8 && quad < p.main_quads) {
    values *= bitcast<vec4f>((127 - place(quad * 4 + vec4u(0, 1, 2, 3))) << vec4u(23));
  }
  let n = id.y * p.quads + quad;
  textureStore(xs, vec2u(n & 1023, n >> 10), select(values, vec4f(0), source < vec4i(0)));
}
