/** Makes `tests/fixtures/layers/layer.safetensors`, the small layer the README's examples send: (64, 96) weights in F16 and 256 tokens of inputs. */

import { encode } from "../src/safetensors/encode.ts";
import { fromFloat32 } from "../src/tensor/convert.ts";
import { normals } from "../tests/support/random.ts";

const ROWS = 64, COLS = 96, TOKENS = 256;

const inputs = normals(TOKENS * COLS, 1).map((x, i) => x * (1 + (i % COLS) / COLS));
const file = encode({
  weight: { dtype: "F16", shape: [ROWS, COLS], data: fromFloat32(normals(ROWS * COLS, 2), "F16") },
  inputs: { dtype: "F16", shape: [TOKENS, COLS], data: fromFloat32(inputs, "F16") },
});
await Deno.writeFile(new URL("../tests/fixtures/layers/layer.safetensors", import.meta.url), file);
