/** A run of `pruneIntoFolder` in this process, on a random model of 18 layers, and its undisturbed result. */

import type { Backend } from "../../src/device/backend.ts";
import { type Checkpoint, openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import type { ModelPruner } from "../../src/client/model_pruner.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { Pare } from "../../src/client/pare.ts";
import { startHostServices } from "../../src/host/host_services.ts";
import { createApp } from "../../routes/app.ts";
import { serverPruner } from "../../src/prune/server_pruner.ts";
import { type FolderJob, pruneIntoFolder } from "../../src/prune/run/folder_destination.ts";
import type { WorkFileSystem } from "../../src/base/files/file_system.ts";
import { type Model, openModel } from "../../src/model/model.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import { makeRandomOpt } from "../../scripts/fixtures/make_random_opt.ts";

const SHAPE = { layers: 3, hidden: 16, heads: 2, ffn: 32, vocabulary: 2048, positions: 32 };
const WINDOWS = [7, 300, 2].map((first) =>
  Uint32Array.from({ length: 32 }, (_, i) => (first * (i + 1)) % 2048)
);

export interface SmallRunServices {
  readonly fs?: WorkFileSystem;
  readonly pare?: ModelPruner;
}

/** The job, its undisturbed result, and a way to run the job. All files are removed at the end. */
export class SmallJob implements AsyncDisposable {
  /** The folder of the undisturbed result. */
  readonly expected: string;

  private constructor(
    readonly folder: string,
    readonly checkpoint: Checkpoint,
    readonly model: Model,
    readonly backend: Backend,
    readonly request: (request: Request) => Promise<Response>,
  ) {
    this.expected = `${folder}/expected`;
  }

  /** Makes the model and runs the job once without any fault. */
  static async make(): Promise<SmallJob> {
    const folder = await Deno.makeTempDir({ prefix: "pare-faults-" });
    await makeRandomOpt(`${folder}/model`, SHAPE);
    const checkpoint = await openCheckpoint(`${folder}/model`, denoFileSystem);
    const services = await startHostServices(() => createCpuBackend()), app = createApp(services);
    const { backend } = services.device.session();
    const request = async (request: Request) => await app.fetch(request);
    const job = new SmallJob(folder, checkpoint, openModel(checkpoint), backend, request);
    await job.run(job.expected);
    return job;
  }

  /** A client that sends its requests by `fetch`, and never repeats one. */
  clientOf(fetch: (request: Request) => Promise<Response>): Pare {
    return new Pare({ baseUrl: "http://127.0.0.1", fetch, retries: 0 });
  }

  /** Runs the job, or continues it, with its result in `out`. */
  async run(
    out: string,
    { fs = denoFileSystem, pare = this.clientOf(this.request) }: SmallRunServices = {},
  ): Promise<void> {
    const { checkpoint, model } = this;
    const job: FolderJob = {
      checkpoint,
      model,
      windows: WINDOWS,
      layers: new Set(linearLayers(model.spec).map(({ name }) => name)),
      queryOf: () => ({ sparsity: 0.5 }),
      activations: "disk",
      out,
      fingerprint: { "--sparsity": "0.5" },
      reportFileNames: ["pare.json"],
      reportFiles: ({ layers }) =>
        Promise.resolve(new Map([["pare.json", JSON.stringify(layers.map(({ name }) => name))]])),
    };
    await pruneIntoFolder(job, { fs, backend: this.backend, pruner: serverPruner(pare) });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.backend.dispose();
    await this.checkpoint.close();
    await Deno.remove(this.folder, { recursive: true });
  }
}
