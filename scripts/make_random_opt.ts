/**
 * Writes a checkpoint of OPT's layout with random weights, opt-125m's sizes by default, for benches of whole models where no
 * trained one is at hand. It is written as it is made, a piece at a time, and is the same for the same seed.
 * Its tokenizer is that of the fixture opt-sotu, so that any text can calibrate it.
 * `deno run -A scripts/make_random_opt.ts DIR [--layers 12 …]`
 */

import { Command, InvalidArgumentError } from "commander";
import { encodeHeader, type TensorSpec } from "../src/safetensors/encode.ts";
import { fromFloat32 } from "../src/tensor/convert.ts";
import { elementCount } from "../src/tensor/shape.ts";
import { normals, uniform } from "../tests/support/random.ts";

/** The sizes a configuration names. */
export interface OptShape {
  readonly layers: number;
  readonly hidden: number;
  readonly heads: number;
  readonly ffn: number;
  /** At least the tokenizer's 2048. */
  readonly vocabulary: number;
  readonly positions: number;
}

/** facebook/opt-125m. */
export const OPT_125M: OptShape = {
  layers: 12,
  hidden: 768,
  heads: 12,
  ffn: 3072,
  vocabulary: 50272,
  positions: 2048,
};

const TOKENIZER = new URL("../tests/fixtures/models/opt-sotu/", import.meta.url);
const TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json"];
const TOKENIZER_VOCABULARY = 2048;

/** OPT's own initialisation. */
const STANDARD_DEVIATION = 0.02;
/** 1 in f16. */
const HALF_ONE = 0x3c00;
/** Rows of the position table before the first token's. */
const POSITION_OFFSET = 2;
/** Elements made at a time. */
const PIECE = 1 << 20;
/** Normal numbers that weights are drawn from: drawing is ten times as fast as making each. */
const DISTINCT = 1 << 16;

/**
 * Writes config.json, model.safetensors (F16) and the tokenizer into `folder`, which is made if need be.
 * @throws {RangeError} the vocabulary is smaller than the tokenizer's
 */
export async function makeRandomOpt(folder: string, shape: OptShape = OPT_125M, seed = 1): Promise<void> {
  if (shape.vocabulary < TOKENIZER_VOCABULARY) {
    throw new RangeError(`vocabulary ${shape.vocabulary}: the tokenizer needs ${TOKENIZER_VOCABULARY}`);
  }
  await Deno.mkdir(folder, { recursive: true });
  const specs = tensorSpecs(shape);
  const { bytes } = encodeHeader(specs, { format: "pt" });
  await Deno.writeFile(`${folder}/model.safetensors`, ReadableStream.from(pieces(bytes, specs, seed)));
  await writeRest(folder, shape);
}

/** config.json and the tokenizer. */
async function writeRest(folder: string, shape: OptShape): Promise<void> {
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(config(shape), null, 2) + "\n");
  for (const name of TOKENIZER_FILES) await Deno.copyFile(new URL(name, TOKENIZER), `${folder}/${name}`);
}

/**
 * As `makeRandomOpt`, but every weight is 0 and takes no room on a file system with sparse files: a checkpoint as large as is wanted.
 */
export async function makeEmptyOpt(folder: string, shape: OptShape): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  const specs = tensorSpecs(shape);
  const { bytes } = encodeHeader(specs, { format: "pt" });
  const path = `${folder}/model.safetensors`;
  await Deno.writeFile(path, bytes);
  const dataBytes = specs.reduce((sum, spec) => sum + elementCount(spec.shape) * 2, 0);
  await Deno.truncate(path, bytes.byteLength + dataBytes);
  await writeRest(folder, shape);
}

function* pieces(header: Uint8Array, specs: readonly TensorSpec[], seed: number): Generator<Uint8Array> {
  yield header;
  const table = new Uint16Array(
    fromFloat32(normals(DISTINCT, seed).map((x) => x * STANDARD_DEVIATION), "F16").buffer,
  );
  const next = uniform(seed);
  for (const { name, shape } of specs) {
    const count = elementCount(shape);
    const isNorm = name.includes("layer_norm.");
    for (let first = 0; first < count; first += PIECE) {
      const length = Math.min(PIECE, count - first);
      const piece = new Uint16Array(length);
      if (!isNorm) { for (let i = 0; i < length; i++) piece[i] = table[Math.floor(next() * DISTINCT)]; }
      else if (name.endsWith(".weight")) piece.fill(HALF_ONE);
      yield new Uint8Array(piece.buffer);
    }
  }
}

/** Every tensor, by the names transformers gives them. */
function tensorSpecs({ layers, hidden, ffn, vocabulary, positions }: OptShape): TensorSpec[] {
  const specs: TensorSpec[] = [];
  const add = (name: string, ...shape: number[]) =>
    specs.push({ name: `model.decoder.${name}`, dtype: "F16", shape });
  const addWithBias = (name: string, rows: number, ...cols: number[]) => {
    add(`${name}.weight`, rows, ...cols);
    add(`${name}.bias`, rows);
  };
  add("embed_tokens.weight", vocabulary, hidden);
  add("embed_positions.weight", positions + POSITION_OFFSET, hidden);
  addWithBias("final_layer_norm", hidden);
  for (let layer = 0; layer < layers; layer++) {
    const prefix = `layers.${layer}`;
    for (const name of ["q_proj", "k_proj", "v_proj", "out_proj"]) {
      addWithBias(`${prefix}.self_attn.${name}`, hidden, hidden);
    }
    addWithBias(`${prefix}.self_attn_layer_norm`, hidden);
    addWithBias(`${prefix}.fc1`, ffn, hidden);
    addWithBias(`${prefix}.fc2`, hidden, ffn);
    addWithBias(`${prefix}.final_layer_norm`, hidden);
  }
  return specs;
}

function config({ layers, hidden, heads, ffn, vocabulary, positions }: OptShape): Record<string, unknown> {
  return {
    architectures: ["OPTForCausalLM"],
    model_type: "opt",
    vocab_size: vocabulary,
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    ffn_dim: ffn,
    max_position_embeddings: positions,
    do_layer_norm_before: true,
    word_embed_proj_dim: hidden,
    activation_function: "relu",
    enable_bias: true,
    layer_norm_elementwise_affine: true,
    tie_word_embeddings: true,
    torch_dtype: "float16",
  };
}

function count(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new InvalidArgumentError("It must be a whole number ≥ 1.");
  }
  return value;
}

if (import.meta.main) {
  const command = new Command("make_random_opt").description("write a random OPT checkpoint")
    .argument("<folder>", "where to write it")
    .option("--seed <n>", "of the weights", count, 1);
  for (const [name, value] of Object.entries(OPT_125M)) command.option(`--${name} <n>`, "size", count, value);
  command.parse(Deno.args, { from: "user" });
  const { seed, ...shape } = command.opts<OptShape & { seed: number }>();
  await makeRandomOpt(command.args[0], shape, seed);
}
