// Rows of a table: embeddings of token ids, or vectors learned for positions (lib/kernels/embed.ts).

struct Step { start: u32, vectors: u32 }

override WIDTH: u32;
override FIRST: u32; // the rows FIRST … FIRST + ROWS − 1 of a larger table
override ROWS: u32;
override HALVES: u32; // 1: two 16-bit floats a word
override POSITIONS: u32; // 1: the row of the token's position, OFFSET further on, instead of its id's
override OFFSET: u32;
override ADD: u32; // 1: added to what is there

@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<u32>; // (ROWS, WIDTH)
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // (vectors, WIDTH)

@compute @workgroup_size(32)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32) {
  let index = (group.x + group.y * groups.x) * 32 + local;
  let row = index / WIDTH;
  if (row >= step.vectors) { return; }
  let wanted = select(ids[row], step.start + row + OFFSET, POSITIONS == 1);
  if (wanted < FIRST || wanted - FIRST >= ROWS) { return; } // another part of the table has it
  let at = (wanted - FIRST) * WIDTH + index % WIDTH;
  var x = 0f;
  if (HALVES == 1) { x = unpack2x16float(table[at / 2])[at % 2]; } else { x = bitcast<f32>(table[at]); }
  if (ADD == 1) { x += out[index]; }
  out[index] = x;
}
