/** The scene of the tests of `resolveModel`: a fake hub with one model, and an empty cache. */

import { hubFiles } from "../../../src/cli/files/use_hub.ts";
import { resolveModel, type ResolveOptions } from "../../../src/model/hub/resolve_model.ts";
import { encode } from "../../../src/tensor/safetensors/encode.ts";
import { patternTensor } from "../../support/checkpoint_files.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";
import { type FakeHub, type FakeModel, serveHub } from "./fake_hub.ts";

/** The commits of the branch `main` and of the tag `v1.0`. */
export const MAIN = "1".repeat(40), OLD = "2".repeat(40);
/** The weight file of the model. */
export const WEIGHTS = encode({ w: patternTensor("F32", [40, 50], 1) });

/** A model whose repository also has files that must not be downloaded. */
export const FILES = {
  "config.json": '{"model_type":"opt"}',
  "tokenizer.json": "{}",
  "merges.txt": "",
  "model.safetensors": WEIGHTS,
  "pytorch_model.bin": "not wanted",
  "tf_model.h5": "not wanted",
  "notes.md": "not wanted",
};

/**
 * The objects of one test: a fake hub with its model, an empty cache, and a function that calls
 * {@link resolveModel} with this hub and this cache.
 */
export interface Scene {
  readonly hub: FakeHub;
  readonly cacheDir: string;
  readonly model: FakeModel;
  resolve(reference: string, options?: Partial<ResolveOptions>): Promise<string>;
}

/** Runs `body` with a fake hub and an empty cache. */
export function withHub(files: FakeModel["files"], body: (scene: Scene) => Promise<void>): Promise<void> {
  return withTemporaryFolder(async (cacheDir) => {
    const model = { repo: "some/model", revisions: { main: MAIN, "v1.0": OLD }, files };
    await using hub = serveHub(model);
    const resolve: Scene["resolve"] = (reference, options) =>
      resolveModel(reference, { fs: hubFiles, cacheDir, fetch, hubUrl: hub.url, backoffMs: 1, ...options });
    await body({ hub, cacheDir, model, resolve });
  });
}
