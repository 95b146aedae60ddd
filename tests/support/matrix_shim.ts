/**
 * Replaces the matrix units of a GPU by loops, so that an adapter without matrix units can test a shader that uses them. The source
 * of the shader is rewritten: the types of matrices become small structs, and the built-in functions that load, multiply and store
 * matrices become loops over workgroup memory. Everything else stays as it is.
 *
 * An operand becomes the address of its elements, so the shader must not overwrite them before it multiplies. Of the 256 elements
 * of a sum, each of the 32 invocations of a subgroup holds 8.
 */

/** Returns the declarations that the rewritten shader needs. */
function declarations(loaded: readonly string[], stored: readonly string[]): string {
  const cases = loaded.map((array, i) => `    case ${i}u: { return f32(${array}[at]); }\n`).join("");
  return `
struct ShimUnit { source: u32, offset: u32, row_step: u32, col_step: u32 }
struct ShimSum { elements: array<f32, 8> }
var<private> shim_lane: u32;

// Returns \`count\`. The compiler does not know that, so it does not unroll the loops, which would take it minutes.
fn shim_count(count: u32) -> u32 { return min(params.ldc + count, count); }

fn shim_element(unit: ShimUnit, row: u32, col: u32) -> f32 {
  let at = unit.offset + row * unit.row_step + col * unit.col_step;
  switch unit.source {
${cases}    default: { return 0.0; }
  }
}

fn shim_multiply(left: ShimUnit, right: ShimUnit, sum: ShimSum) -> ShimSum {
  var result = sum;
  for (var e = 0u; e < shim_count(8u); e++) {
    let at = 8u * shim_lane + e;
    var total = 0.0;
    for (var k = 0u; k < shim_count(16u); k++) {
      total += shim_element(left, at / 16u, k) * shim_element(right, k, at % 16u);
    }
    result.elements[e] += total;
  }
  return result;
}
${
    stored.map((array) => `
fn shim_store_${array}(offset: u32, sum: ShimSum, stride: u32) {
  var stored = sum;
  for (var e = 0u; e < shim_count(8u); e++) {
    let at = 8u * shim_lane + e;
    ${array}[offset + at / 16u * stride + at % 16u] = stored.elements[e];
  }
}
`).join("")
  }`;
}

/** Returns the WGSL source with loops in place of matrix units of 16 × 16 × 16 elements. */
export function withoutMatrixUnits(code: string): string {
  const loaded: string[] = [], stored: string[] = [];
  const indexIn = (arrays: string[], array: string) => {
    if (!arrays.includes(array)) arrays.push(array);
    return arrays.indexOf(array);
  };
  const rewritten = code
    .replace("enable chromium_experimental_subgroup_matrix;", "")
    .replace("diagnostic(off, chromium.subgroup_matrix_uniformity);", "")
    .replace(/subgroup_matrix_(left|right)<f16, 16, 16>/g, "ShimUnit")
    .replace("subgroup_matrix_result<f32, 16, 16>", "ShimSum")
    .replace(
      /subgroupMatrixLoad<\w+, (row|col)_major>\(&(\w+), (.*), (\w+)\);/g,
      (_, order, array, offset, stride) => {
        const steps = order === "row" ? `${stride}, 1u` : `1u, ${stride}`;
        return `ShimUnit(${indexIn(loaded, array)}u, ${offset}, ${steps});`;
      },
    )
    .replace(/subgroupMatrixStore<row_major>\(&(\w+), /g, (_, array) => {
      indexIn(stored, array);
      return `shim_store_${array}(`;
    })
    .replaceAll("subgroupMatrixMultiplyAccumulate(", "shim_multiply(")
    .replace(/(local_invocation_index\) local: u32\) \{)/g, "$1\n  shim_lane = local % 32u;");
  if (/subgroup_?matrix/i.test(rewritten)) {
    throw new Error("the shader uses matrices in a way that the shim does not know");
  }
  return rewritten + declarations(loaded, stored);
}
