// y = x·Ŵᵀ for software drivers: a lane takes rows, nothing waits for another lane (lib/kernels/matvec_lane.ts).
//
// What costs on llvmpipe, read from its machine code (Mesa 22.3, 8 lanes): a vec4 from a storage buffer about 360
// instructions (a loop over the lanes), four words of a uniform buffer 100 (a gather, whether the index is uniform or not,
// once there is a loop), a texel of a sampled texture 165, a texel of a storage texture 70. So all that is read often lies in
// storage textures; x is read once for 4 · per_group rows and then lies on the stack; and a code is masked where it stands in
// its word, with x multiplied beforehand by the power of two that undoes the place: and, convert, multiply, add.
// Measured on two busy cores, best of many turns: 3 bits 11 Gweights/s at 4096² (1.7 with x read inside the loop), 3.5 times
// our f32 and 2.1 times our f16 on the same frame, 6 weak columns +0.5 %, 54 of them +1.9 %. Tried and slower: x from a uniform
// buffer inside the loop (4 times), storage buffers for codes (1.6 times), sampled textures (1.4), shifts instead of masks
// (none to 1.1), a dispatch for each 512 columns (20 µs apiece). There is no fused multiply-add: the driver splits it.

override bits: u32 = 3; // of a code: 2, 3, 4, 8; or 16 and 32: floats, with no grid
override code_bits: u32 = min(bits, 8);
override vectors: u32 = 1; // 1, 2 or 4
override slots: u32 = 0; // grids in 128 columns: 1, 2 or 4; 0: one grid a row
override weak_bits: u32 = 16;

struct Params {
  rows: u32,
  tiles: u32, // of 32 rows: 8 lanes times 4
  per_group: u32, // tiles of a workgroup
  units: u32, // of 128 columns
  weak: u32, // units of 8 weak columns
  weak_at: u32, // where they begin among the texels
  x_quads: u32, // texels of x for a vector
  vector: u32, // the first vector
  all_rows: u32, // of y, where the texture holds only some
  first_row: u32,
  first_tile: u32, // of `unpack`
  out_rows: u32,
  cols: u32,
}

// 32 columns, and 128.
struct Block { a: mat4x4f, b: mat4x4f }
struct Unit { p: Block, q: Block, r: Block, s: Block }

@group(0) @binding(0) var<uniform> p: Params;
// Codes: (units / 4, tiles, 4 rows, unit of the 4, texel, 8 lanes), a unit's texels followed by its grids (scale, zero, scale,
// zero). Then weak columns: (unit of 8, tiles, 4 rows, texel, 8 lanes).
@group(0) @binding(1) var texels: texture_storage_2d<rgba32uint, read>;
// x as `prepare` leaves it: (vectors, x_quads).
@group(0) @binding(2) var xs: texture_storage_2d<rgba32float, read>;
@group(0) @binding(3) var<storage, read> grids: array<vec4f>; // scales of a lane's 4 rows, then zeros: (tiles, 8, 2)
@group(0) @binding(4) var<storage, read_write> sums: array<vec4f>; // of 4 rows: (vectors, tiles, 8)
@group(0) @binding(5) var<storage, read_write> y: array<f32>; // (vectors, rows)

fn texel(at: u32) -> vec4u {
  return textureLoad(texels, vec2u(at & 1023, at >> 10));
}

fn x_quad(vector: u32, at: u32) -> vec4f {
  let n = (p.vector + vector) * p.x_quads + at;
  return textureLoad(xs, vec2u(n & 1023, n >> 10));
}

fn x_block(vector: u32, at: u32) -> Block {
  return Block(
    mat4x4f(x_quad(vector, at), x_quad(vector, at + 1), x_quad(vector, at + 2), x_quad(vector, at + 3)),
    mat4x4f(x_quad(vector, at + 4), x_quad(vector, at + 5), x_quad(vector, at + 6), x_quad(vector, at + 7)));
}

fn x_unit(vector: u32, unit: u32) -> Unit {
  let at = unit * 32;
  return Unit(x_block(vector, at), x_block(vector, at + 8), x_block(vector, at + 16), x_block(vector, at + 24));
}

// Codes of a word, each still where it stands there.
fn four(word: u32, at: u32) -> vec4f {
  let mask = (1u << code_bits) - 1;
  return vec4f(vec4i(vec4u(word) & (vec4u(mask) << (at + vec4u(0, 1, 2, 3) * code_bits))));
}

// The same for the uppermost codes of a word: the sign bit must stay clear, so the last one comes down.
fn last_four(word: u32) -> vec4f {
  let mask = (1u << code_bits) - 1;
  let low = vec3u(word) & (vec3u(mask) << (32 - vec3u(4, 3, 2) * code_bits));
  return vec4f(vec4i(vec4u(low, word >> (32 - code_bits))));
}

fn block2(a: u32, b: u32) -> Block {
  return Block(
    mat4x4f(four(a, 0), four(a, 8), four(a, 16), last_four(a)),
    mat4x4f(four(b, 0), four(b, 8), four(b, 16), last_four(b)));
}

// 32 codes in 3 words; the two that straddle, and the last, come down to bit 0.
fn block3(a: u32, b: u32, c: u32) -> Block {
  let w2 = vec4i(vec4u(a & (7u << 24), a & (7u << 27), ((a >> 30) | (b << 2)) & 7, b & (7u << 1)));
  let w5 = vec4i(vec4u(b & (7u << 28), ((b >> 31) | (c << 1)) & 7, c & (7u << 2), c & (7u << 5)));
  let w7 = vec4i(vec4u(c & (7u << 20), c & (7u << 23), c & (7u << 26), c >> 29));
  return Block(
    mat4x4f(four(a, 0), four(a, 12), vec4f(w2), four(b, 4)),
    mat4x4f(four(b, 16), vec4f(w5), four(c, 8), vec4f(w7)));
}

fn block4(t: vec4u) -> Block {
  return Block(
    mat4x4f(four(t.x, 0), last_four(t.x), four(t.y, 0), last_four(t.y)),
    mat4x4f(four(t.z, 0), last_four(t.z), four(t.w, 0), last_four(t.w)));
}

fn block8(t: vec4u, u: vec4u) -> Block {
  return Block(
    mat4x4f(last_four(t.x), last_four(t.y), last_four(t.z), last_four(t.w)),
    mat4x4f(last_four(u.x), last_four(u.y), last_four(u.z), last_four(u.w)));
}

fn halves(a: u32, b: u32) -> vec4f {
  return vec4f(unpack2x16float(a), unpack2x16float(b));
}

fn block16(at: u32) -> Block {
  let t = texel(at);
  let u = texel(at + 8);
  let v = texel(at + 16);
  let w = texel(at + 24);
  return Block(
    mat4x4f(halves(t.x, t.y), halves(t.z, t.w), halves(u.x, u.y), halves(u.z, u.w)),
    mat4x4f(halves(v.x, v.y), halves(v.z, v.w), halves(w.x, w.y), halves(w.z, w.w)));
}

fn block32(at: u32) -> Block {
  return Block(
    mat4x4f(bitcast<vec4f>(texel(at)), bitcast<vec4f>(texel(at + 8)), bitcast<vec4f>(texel(at + 16)), bitcast<vec4f>(texel(at + 24))),
    mat4x4f(bitcast<vec4f>(texel(at + 32)), bitcast<vec4f>(texel(at + 40)), bitcast<vec4f>(texel(at + 48)), bitcast<vec4f>(texel(at + 56))));
}

fn unit_at(at: u32) -> Unit {
  if (bits == 2) {
    let t = texel(at);
    let u = texel(at + 8);
    return Unit(block2(t.x, t.y), block2(t.z, t.w), block2(u.x, u.y), block2(u.z, u.w));
  }
  if (bits == 3) {
    let t = texel(at);
    let u = texel(at + 8);
    let v = texel(at + 16);
    return Unit(block3(t.x, t.y, t.z), block3(t.w, u.x, u.y), block3(u.z, u.w, v.x), block3(v.y, v.z, v.w));
  }
  if (bits == 4) {
    return Unit(block4(texel(at)), block4(texel(at + 8)), block4(texel(at + 16)), block4(texel(at + 24)));
  }
  if (bits == 8) {
    return Unit(
      block8(texel(at), texel(at + 8)), block8(texel(at + 16), texel(at + 24)),
      block8(texel(at + 32), texel(at + 40)), block8(texel(at + 48), texel(at + 56)));
  }
  if (bits == 16) { return Unit(block16(at), block16(at + 32), block16(at + 64), block16(at + 96)); }
  return Unit(block32(at), block32(at + 64), block32(at + 128), block32(at + 192));
}

fn product(d: Block, x: Block) -> f32 {
  return ((dot(d.a[0], x.a[0]) + dot(d.a[1], x.a[1])) + (dot(d.a[2], x.a[2]) + dot(d.a[3], x.a[3]))) +
    ((dot(d.b[0], x.b[0]) + dot(d.b[1], x.b[1])) + (dot(d.b[2], x.b[2]) + dot(d.b[3], x.b[3])));
}

// The sum of 32 of x as they were before `prepare` multiplied them.
fn x_sum(x: Block) -> f32 {
  if (bits == 2) {
    let s = vec4f(1, 4, 16, 64);
    let last = vec4f(s.xyz * 16777216, 1);
    return ((dot(x.a[0], s) + dot(x.a[1], s * 256)) + (dot(x.a[2], s * 65536) + dot(x.a[3], last))) +
      ((dot(x.b[0], s) + dot(x.b[1], s * 256)) + (dot(x.b[2], s * 65536) + dot(x.b[3], last)));
  }
  if (bits == 3) {
    let s = vec4f(1, 8, 64, 512);
    return ((dot(x.a[0], s) + dot(x.a[1], s * 4096)) + (dot(x.a[2], vec4f(16777216, 134217728, 1, 2)) + dot(x.a[3], s * 16))) +
      ((dot(x.b[0], s * 65536) + dot(x.b[1], vec4f(268435456, 1, 4, 32))) + (dot(x.b[2], s * 256) + dot(x.b[3], vec4f(1048576, 8388608, 67108864, 1))));
  }
  if (bits == 4) {
    let s = vec4f(1, 16, 256, 4096);
    let last = vec4f(s.xyz * 65536, 1);
    return ((dot(x.a[0], s) + dot(x.a[1], last)) + (dot(x.a[2], s) + dot(x.a[3], last))) +
      ((dot(x.b[0], s) + dot(x.b[1], last)) + (dot(x.b[2], s) + dot(x.b[3], last)));
  }
  let s = vec4f(1, 256, 65536, 1);
  return ((dot(x.a[0], s) + dot(x.a[1], s)) + (dot(x.a[2], s) + dot(x.a[3], s))) +
    ((dot(x.b[0], s) + dot(x.b[1], s)) + (dot(x.b[2], s) + dot(x.b[3], s)));
}

fn x_sums(x: Unit) -> vec4f {
  if (bits > 8) { return vec4f(0); }
  return vec4f(x_sum(x.p), x_sum(x.q), x_sum(x.r), x_sum(x.s));
}

// A unit's share of y: with grids of its own scaled, otherwise the plain sum of codes times x.
fn share(at: u32, d: Unit, x: Unit, sums: vec4f) -> f32 {
  let s = vec4f(product(d.p, x.p), product(d.q, x.q), product(d.r, x.r), product(d.s, x.s));
  if (slots == 0) { return (s.x + s.y) + (s.z + s.w); }
  let g = bitcast<vec4f>(texel(at + bits * 8));
  if (slots == 1) { return g.x * (((s.x + s.y) + (s.z + s.w)) - g.y * ((sums.x + sums.y) + (sums.z + sums.w))); }
  if (slots == 2) { return g.x * ((s.x + s.y) - g.y * (sums.x + sums.y)) + g.z * ((s.z + s.w) - g.w * (sums.z + sums.w)); }
  let h = bitcast<vec4f>(texel(at + bits * 8 + 8));
  return (g.x * (s.x - g.y * sums.x) + g.z * (s.y - g.w * sums.y)) + (h.x * (s.z - h.y * sums.z) + h.z * (s.w - h.w * sums.w));
}

// 8 weak columns of one row.
fn weak_at(at: u32) -> mat2x4f {
  let t = texel(at);
  if (weak_bits == 16) { return mat2x4f(halves(t.x, t.y), halves(t.z, t.w)); }
  return mat2x4f(bitcast<vec4f>(t), bitcast<vec4f>(texel(at + 8)));
}

fn weak_product(w: mat2x4f, lo: vec4f, hi: vec4f) -> f32 {
  return dot(w[0], lo) + dot(w[1], hi);
}

// Up to 32 weak columns; `n` units of 8 are there.
fn weak_block(at: u32, stride: u32, n: u32, x: Block) -> f32 {
  var sum = weak_product(weak_at(at), x.a[0], x.a[1]);
  if (n > 1) { sum += weak_product(weak_at(at + stride), x.a[2], x.a[3]); }
  if (n > 2) { sum += weak_product(weak_at(at + 2 * stride), x.b[0], x.b[1]); }
  if (n > 3) { sum += weak_product(weak_at(at + 3 * stride), x.b[2], x.b[3]); }
  return sum;
}

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let chunk = 4 / vectors; // units whose x lies on the stack at a time
  let unit_texels = (bits + (slots + 1) / 2) * 8;
  let weak_stride = p.tiles * 4 * (weak_bits / 16) * 8;
  let weak_x = p.units * 32;
  let end = min((group.x + 1) * p.per_group, p.tiles);
  var x_total = vec4f(0); // of each vector
  var u = 0u;
  loop {
    // Slot i holds vector i % vectors of unit i / vectors.
    let x0 = x_unit(0, u);
    let x1 = x_unit(1 % vectors, u + 1 / vectors);
    let x2 = x_unit(2 % vectors, u + 2 / vectors);
    let x3 = x_unit(3 % vectors, u + 3 / vectors);
    let sums0 = x_sums(x0);
    let sums1 = x_sums(x1);
    let sums2 = x_sums(x2);
    let sums3 = x_sums(x3);
    let units = min(chunk, p.units - u);
    if (slots == 0) {
      let all = vec4f(dot(sums0, vec4f(1)), dot(sums1, vec4f(1)), dot(sums2, vec4f(1)), dot(sums3, vec4f(1)));
      if (vectors == 1) {
        x_total.x += all.x;
        if (units > 1) { x_total.x += all.y; }
        if (units > 2) { x_total.x += all.z; }
        if (units > 3) { x_total.x += all.w; }
      } else if (vectors == 2) {
        x_total += vec4f(all.xy, 0, 0);
        if (units > 1) { x_total += vec4f(all.zw, 0, 0); }
      } else {
        x_total += all;
      }
    }
    let last = u + chunk >= p.units;
    var weak = 0u;
    if (last) { weak = p.weak; }
    var w0: Block; var w1: Block; var w2: Block; var w3: Block;
    if (weak > 0) {
      w0 = x_block(0, weak_x);
      w1 = x_block(1 % vectors, weak_x + 8 * (1 / vectors));
      w2 = x_block(2 % vectors, weak_x + 8 * (2 / vectors));
      w3 = x_block(3 % vectors, weak_x + 8 * (3 / vectors));
    }
    // Where the texels of these units begin: whole fours of units before them, in each all tiles.
    let four = u & ~3u;
    let of_four = min(4, p.units - four);
    let base = four * p.tiles * 4 * unit_texels + (u & 3) * unit_texels + lane;
    for (var t = group.x * p.per_group; t < end; t++) {
      var out0 = vec4f(0); var out1 = vec4f(0); var out2 = vec4f(0); var out3 = vec4f(0);
      var weak0 = vec4f(0); var weak1 = vec4f(0); var weak2 = vec4f(0); var weak3 = vec4f(0);
      for (var j = 0u; j < 4; j++) {
        var s = vec4f(0);
        let at = base + (t * 4 + j) * of_four * unit_texels;
        if (units > 0) {
          let d = unit_at(at);
          s.x = share(at, d, x0, sums0);
          if (vectors > 1) { s.y = share(at, d, x1, sums1); }
          if (vectors > 2) { s.z = share(at, d, x2, sums2); s.w = share(at, d, x3, sums3); }
        }
        if (vectors < 4) {
          if (units > 1) {
            let d = unit_at(at + unit_texels);
            if (vectors == 1) { s.x += share(at + unit_texels, d, x1, sums1); }
            else { s.x += share(at + unit_texels, d, x2, sums2); s.y += share(at + unit_texels, d, x3, sums3); }
          }
          if (vectors == 1) {
            if (units > 2) { s.x += share(at + 2 * unit_texels, unit_at(at + 2 * unit_texels), x2, sums2); }
            if (units > 3) { s.x += share(at + 3 * unit_texels, unit_at(at + 3 * unit_texels), x3, sums3); }
          }
        }
        let here = vec4u(j) == vec4u(0, 1, 2, 3);
        out0 = select(out0, vec4f(s.x), here);
        if (vectors > 1) { out1 = select(out1, vec4f(s.y), here); }
        if (vectors > 2) { out2 = select(out2, vec4f(s.z), here); out3 = select(out3, vec4f(s.w), here); }
        if (weak > 0) {
          var w = vec4f(0);
          let begin = p.weak_at + (t * 4 + j) * (weak_bits / 16) * 8 + lane;
          w.x = weak_block(begin, weak_stride, weak, w0);
          if (vectors == 1) {
            if (weak > 4) { w.x += weak_block(begin + 4 * weak_stride, weak_stride, weak - 4, w1); }
            if (weak > 8) { w.x += weak_block(begin + 8 * weak_stride, weak_stride, weak - 8, w2); }
            if (weak > 12) { w.x += weak_block(begin + 12 * weak_stride, weak_stride, weak - 12, w3); }
          }
          if (vectors == 2) {
            w.y = weak_block(begin, weak_stride, weak, w1);
            if (weak > 4) {
              w.x += weak_block(begin + 4 * weak_stride, weak_stride, weak - 4, w2);
              w.y += weak_block(begin + 4 * weak_stride, weak_stride, weak - 4, w3);
            }
          }
          if (vectors == 4) {
            w.y = weak_block(begin, weak_stride, weak, w1);
            w.z = weak_block(begin, weak_stride, weak, w2);
            w.w = weak_block(begin, weak_stride, weak, w3);
          }
          // More of them than slots hold: their x is read again for each row.
          for (var i = 16 / vectors; i < weak; i++) {
            let more = weak_at(begin + i * weak_stride);
            w.x += weak_product(more, x_quad(0, weak_x + 2 * i), x_quad(0, weak_x + 2 * i + 1));
            if (vectors > 1) { w.y += weak_product(more, x_quad(1, weak_x + 2 * i), x_quad(1, weak_x + 2 * i + 1)); }
            if (vectors > 2) {
              w.z += weak_product(more, x_quad(2, weak_x + 2 * i), x_quad(2, weak_x + 2 * i + 1));
              w.w += weak_product(more, x_quad(3, weak_x + 2 * i), x_quad(3, weak_x + 2 * i + 1));
            }
          }
          weak0 = select(weak0, vec4f(w.x), here);
          if (vectors > 1) { weak1 = select(weak1, vec4f(w.y), here); }
          if (vectors > 2) { weak2 = select(weak2, vec4f(w.z), here); weak3 = select(weak3, vec4f(w.w), here); }
        }
      }
      let stride = p.tiles * 8;
      let quad = t * 8 + lane;
      if (u > 0) {
        out0 += sums[quad];
        if (vectors > 1) { out1 += sums[quad + stride]; }
        if (vectors > 2) { out2 += sums[quad + 2 * stride]; out3 += sums[quad + 3 * stride]; }
      }
      if (last) {
        if (slots == 0 && bits <= 8) {
          let scale = grids[2 * quad];
          let zero = grids[2 * quad + 1];
          out0 = scale * (out0 - zero * x_total.x);
          out1 = scale * (out1 - zero * x_total.y);
          out2 = scale * (out2 - zero * x_total.z);
          out3 = scale * (out3 - zero * x_total.w);
        }
        store(0, quad, out0 + weak0);
        if (vectors > 1) { store(1, quad, out1 + weak1); }
        if (vectors > 2) { store(2, quad, out2 + weak2); store(3, quad, out3 + weak3); }
      } else {
        sums[quad] = out0;
        if (vectors > 1) { sums[quad + stride] = out1; }
        if (vectors > 2) { sums[quad + 2 * stride] = out2; sums[quad + 3 * stride] = out3; }
      }
    }
    u += chunk;
    if (u >= p.units) { break; }
  }
}

fn store(vector: u32, quad: u32, values: vec4f) {
  let row = quad * 4;
  let at = (p.vector + vector) * p.all_rows + p.first_row + row;
  if (row < p.rows) { y[at] = values.x; }
  if (row + 1 < p.rows) { y[at + 1] = values.y; }
  if (row + 2 < p.rows) { y[at + 2] = values.z; }
  if (row + 3 < p.rows) { y[at + 3] = values.w; }
}

// Of `prepare` and `unpack`: the column at each place of the codes, then of each weak column, −1 at none: (x_quads).
@group(0) @binding(6) var<storage, read> order: array<vec4i>;
@group(0) @binding(7) var<storage, read_write> out: array<vec4f>; // (ceil(cols / 4), out_rows)

// The power of two that undoes where the codes of a quad stand in their words; 1 where the kernel brings a code down.
fn place(quad: u32) -> vec4f {
  let bit = (quad * 4 + vec4u(0, 1, 2, 3)) * code_bits % 32;
  if (bits > 8) { return vec4f(1); }
  return bitcast<vec4f>((127 - select(bit, vec4u(0), bit + code_bits >= vec4u(32))) << vec4u(23));
}

@group(0) @binding(8) var<storage, read> x: array<f32>; // (vectors, cols)
@group(0) @binding(9) var xs_out: texture_storage_2d<rgba32float, write>;

// x for `main`: in the order of the codes, each multiplied by what undoes the place of its code, nothing at weak columns;
// then those of the weak columns, as they are.
@compute @workgroup_size(16)
fn prepare(@builtin(global_invocation_id) id: vec3u) {
  let quad = id.x;
  if (quad >= p.x_quads) { return; }
  let column = order[quad];
  let at = vec4u(max(column, vec4i(0))) + id.y * p.cols;
  var values = vec4f(x[at.x], x[at.y], x[at.z], x[at.w]);
  if (quad < p.units * 32) { values *= place(quad); }
  let n = id.y * p.x_quads + quad;
  textureStore(xs_out, vec2u(n & 1023, n >> 10), select(values, vec4f(0), column < vec4i(0)));
}

fn put(row: u32, quad: u32, d: vec4f, grid: vec2f) {
  let columns = order[quad];
  let w = grid.x * (d * place(quad) - grid.y);
  let at = u32(columns.x) / 4 * p.out_rows + row;
  if (columns.x >= 0 && (columns.x & 3) == 0 && all(columns == columns.x + vec4i(0, 1, 2, 3))) {
    out[at] = w;
    return;
  }
  for (var i = 0; i < 4; i++) {
    let c = columns[i];
    if (c >= 0) { out[u32(c) / 4 * p.out_rows + row][c & 3] = w[i]; }
  }
}

fn put_block(row: u32, quad: u32, d: Block, grid: vec2f) {
  put(row, quad, d.a[0], grid); put(row, quad + 1, d.a[1], grid); put(row, quad + 2, d.a[2], grid); put(row, quad + 3, d.a[3], grid);
  put(row, quad + 4, d.b[0], grid); put(row, quad + 5, d.b[1], grid); put(row, quad + 6, d.b[2], grid); put(row, quad + 7, d.b[3], grid);
}

// Some rows as floats, a unit of one row a lane: for products with many vectors.
@compute @workgroup_size(8)
fn unpack(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let t = p.first_tile + group.x / 4;
  let j = group.x & 3;
  let u = group.y;
  let unit_texels = (bits + (slots + 1) / 2) * 8;
  let of_four = min(4, p.units - (u & ~3u));
  let at = ((u & ~3u) * p.tiles * 4 + (t * 4 + j) * of_four + (u & 3)) * unit_texels + lane;
  let row = (group.x / 4 * 8 + lane) * 4 + j;
  let d = unit_at(at);
  var g0 = vec2f(1, 0);
  if (slots == 0 && bits <= 8) {
    let quad = t * 8 + lane;
    g0 = vec2f(grids[2 * quad][j], grids[2 * quad + 1][j]);
  }
  var g1 = g0;
  var g2 = g0;
  var g3 = g0;
  if (slots > 0) {
    let g = bitcast<vec4f>(texel(at + bits * 8));
    g0 = g.xy; g1 = g.xy; g2 = g.xy; g3 = g.xy;
    if (slots == 2) { g2 = g.zw; g3 = g.zw; }
    if (slots == 4) {
      let h = bitcast<vec4f>(texel(at + bits * 8 + 8));
      g1 = g.zw; g2 = h.xy; g3 = h.zw;
    }
  }
  put_block(row, u * 32, d.p, g0);
  put_block(row, u * 32 + 8, d.q, g1);
  put_block(row, u * 32 + 16, d.r, g2);
  put_block(row, u * 32 + 24, d.s, g3);
}

// Weak columns to their places, and zeros behind the last column up to the whole quad.
@compute @workgroup_size(8)
fn unpack_weak(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let t = p.first_tile + group.x / 4;
  let j = group.x & 3;
  let row = (group.x / 4 * 8 + lane) * 4 + j;
  let stride = p.tiles * 4 * (weak_bits / 16) * 8;
  let at = p.weak_at + (t * 4 + j) * (weak_bits / 16) * 8 + lane;
  for (var i = 0u; i < p.weak; i++) {
    let w = weak_at(at + i * stride);
    for (var h = 0u; h < 2; h++) {
      let columns = order[p.units * 32 + 2 * i + h];
      for (var k = 0; k < 4; k++) {
        let c = columns[k];
        if (c >= 0) { out[u32(c) / 4 * p.out_rows + row][c & 3] = w[h][k]; }
      }
    }
  }
  for (var c = p.cols; (c & 3) != 0; c++) { out[c / 4 * p.out_rows + row][c & 3] = 0; }
}
