/**
 * The small random checkpoints in `tests/fixtures/families`, which transformers wrote, and the numbers that
 * transformers computes from them. `scripts/fixtures/make_family_fixtures.ts` describes the files.
 */

import { fileURLToPath } from "node:url";
import { openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { memorySource, type TensorSource } from "../../src/model/checkpoint/tensor_source.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { readModelSpec } from "../../src/model/families/families.ts";
import type { Model } from "../../src/model/model.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { asFloat32, type HostTensor } from "../../src/tensor/host_tensor.ts";

/** The folder of the checkpoints. Each has a subfolder with the name of its family in `FAMILY_MODELS`. */
export const FAMILY_FIXTURES = fileURLToPath(new URL("../fixtures/families/", import.meta.url));

/** One configuration of a family, with the numbers that transformers computes. */
export interface FamilyVariant {
  readonly name: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly model: Model;
  /** The logits of all windows, (windows, tokens, vocabulary) f32. */
  readonly logits: Float32Array;
  /**
   * Σ x·xᵀ over the inputs of each linear layer of a block, by the name of its weight: f32, the upper triangle
   * packed row by row. Only the first of the layers that share an input is in this map.
   */
  readonly hessians: ReadonlyMap<string, Float32Array>;
  /** The number of tokens that were routed to the layers of an expert, by the name of the weight. */
  readonly tokens: ReadonlyMap<string, number>;
}

/** The checkpoint of a family. */
export interface FamilyFixture {
  readonly folder: string;
  readonly weights: TensorSource;
  /** Token ids. All windows have the same length. */
  readonly windows: readonly Uint32Array[];
  readonly variants: readonly FamilyVariant[];
}

/** Lists the families that have a checkpoint. */
export function familyNames(): string[] {
  return [...Deno.readDirSync(FAMILY_FIXTURES)].map(({ name }) => name).toSorted();
}

/** Reads the checkpoint of a family. All tensors are read into memory. */
export async function readFamilyFixture(family: string): Promise<FamilyFixture> {
  const folder = FAMILY_FIXTURES + family;
  const { header, tensors } = decode(await Deno.readFile(`${folder}/expected.safetensors`));
  const configs: Record<string, Record<string, unknown>> = JSON.parse(header.metadata.configs);
  const weights = await readWeights(folder);
  return {
    folder,
    weights,
    windows: rowsOf(tensors.get("windows")!),
    variants: Object.entries(configs).map(([name, config]) => {
      const model = { spec: readModelSpec(config, weights.has), weights };
      const logits = asFloat32(tensors.get(`${name}/logits`)!.data);
      const under = <T>(kind: string, read: (tensor: HostTensor) => T) =>
        new Map(
          [...tensors].filter(([key]) => key.startsWith(`${name}/${kind}/`)).map(([key, tensor]) =>
            [`${key.slice(`${name}/${kind}/`.length)}.weight`, read(tensor)] as const
          ),
        );
      const hessians = under("hessian", ({ data }) => asFloat32(data));
      const tokens = under(
        "tokens",
        ({ data }) => new DataView(data.buffer, data.byteOffset).getUint32(0, true),
      );
      return { name, config, model, logits, hessians, tokens };
    }),
  };
}

/** Reads all weights of a checkpoint into memory, so that the files are closed at once. */
async function readWeights(folder: string): Promise<TensorSource> {
  const checkpoint = await openCheckpoint(folder, denoFileSystem);
  try {
    const tensors = new Map<string, HostTensor>();
    for (const name of checkpoint.names()) tensors.set(name, await checkpoint.tensor(name));
    return memorySource(tensors);
  } finally {
    await checkpoint.close();
  }
}

function rowsOf({ shape: [rows, cols], data }: HostTensor): Uint32Array[] {
  const values = new Uint32Array(data.slice().buffer);
  return Array.from({ length: rows }, (_, r) => values.slice(r * cols, (r + 1) * cols));
}
