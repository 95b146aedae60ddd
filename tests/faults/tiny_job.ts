/**
 * A job of `pruneIntoFolder` in this process: a random OPT model of three blocks in two weight files, of which a few layers are
 * pruned. A run takes less than a second.
 */

import { makeRandomOpt } from "../../scripts/fixtures/make_random_opt.ts";
import { type Checkpoint, openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { INDEX_FILE, WEIGHTS_FILE } from "../../src/model/checkpoint/weight_files.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import type { Backend } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import type { RoundSolver } from "../../src/prune/steps.ts";
import { type FolderJob, pruneIntoFolder } from "../../src/prune/run/folder_destination.ts";
import type { WorkFileSystem } from "../../src/base/files/file_system.ts";
import { type Model, openModel } from "../../src/model/model.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";

const SHAPE = { layers: 3, hidden: 8, heads: 2, ffn: 16, vocabulary: 2048, positions: 8 };
const WINDOWS = [Uint32Array.of(7, 300, 2, 45, 1999, 8), Uint32Array.of(1, 2, 3, 5, 8, 13)];
export const LAYERS = ["0.self_attn.q_proj", "0.fc1", "1.fc2", "2.self_attn.out_proj", "2.fc2"].map((name) =>
  `model.decoder.layers.${name}.weight`
);
/** The formats of the result, whose unfinished runs have different files. */
export const FORMATS = ["dense", "pack-quantized"] as const;

export type RunFormat = typeof FORMATS[number];

export interface TinyRunOptions {
  /** @default "dense" */
  readonly format?: RunFormat;
  readonly fs?: WorkFileSystem;
  /** What prunes the layers. @default the backend of the job */
  readonly pruner?: RoundSolver;
  /** Receives a description of each kind of damage. */
  readonly onDamage?: (description: string) => void;
}

/** The model, and the backend that prunes it. All files are removed at the end. */
export class TinyJob implements AsyncDisposable {
  private constructor(
    /** The folder of the model, in which runs may put their results. */
    readonly folder: string,
    readonly checkpoint: Checkpoint,
    readonly model: Model,
    readonly backend: Backend,
  ) {}

  /** Writes the model, and opens it. */
  static async make(): Promise<TinyJob> {
    const folder = await Deno.makeTempDir({ prefix: "pare-faults-" }), source = `${folder}/model`;
    await makeRandomOpt(source, SHAPE);
    await splitWeights(source);
    const checkpoint = await openCheckpoint(source, denoFileSystem);
    return new TinyJob(folder, checkpoint, openModel(checkpoint), await createCpuBackend());
  }

  /** Runs the job, or continues its run in `out`. */
  async run(out: string, options: TinyRunOptions = {}): Promise<void> {
    const { backend } = this, { format = "dense", fs = denoFileSystem, onDamage } = options;
    const pruner = options.pruner ?? new DevicePruner(backend);
    await pruneIntoFolder(this.#job(out, format), { fs, backend, pruner, onDamage });
  }

  #job(out: string, format: RunFormat): FolderJob {
    const { checkpoint, model } = this;
    return {
      checkpoint,
      model,
      windows: WINDOWS,
      layers: new Set(LAYERS),
      queryOf: () => format === "dense" ? { sparsity: 0.5 } : { sparsity: 0.5, bits: 4 },
      activations: "disk",
      reconstruct: 1,
      out,
      fingerprint: { "--sparsity": "0.5", "--format": format },
      format,
      reportFileNames: ["notes.json"],
      reportFiles: ({ layers }) => {
        const zeros = layers.map(({ name, report }) => [name, report.zeros] as const);
        return Promise.resolve(new Map([["notes.json", JSON.stringify(zeros.sort())]]));
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.backend.dispose();
    await this.checkpoint.close();
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** Divides the weight file of a checkpoint into two files with an index, so that there are two files to exchange. */
async function splitWeights(folder: string): Promise<void> {
  const { tensors } = decode(await Deno.readFile(`${folder}/${WEIGHTS_FILE}`));
  const all = [...tensors], middle = all.length - 24; // the first file has the embedding and the first block
  const files = new Map([
    ["model-00001-of-00002.safetensors", all.slice(0, middle)],
    ["model-00002-of-00002.safetensors", all.slice(middle)],
  ]);
  const places: [string, string][] = [];
  for (const [file, part] of files) {
    await Deno.writeFile(`${folder}/${file}`, encode(new Map(part), { format: "pt" }));
    for (const [name] of part) places.push([name, file]);
  }
  const weight_map = Object.fromEntries(places);
  await Deno.writeTextFile(`${folder}/${INDEX_FILE}`, JSON.stringify({ metadata: {}, weight_map }));
  await Deno.remove(`${folder}/${WEIGHTS_FILE}`);
}
