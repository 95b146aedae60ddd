/**
 * Tests whole runs with targets on mixtures of experts, with reconstructed blocks: at two hosts, and stopped and
 * resumed. Both must end in the bytes of a run in one process.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { HostPool } from "../../src/client/host_pool.ts";
import type { LayerEvent } from "../../src/protocol/run/solve_round.ts";
import { withFewTokens } from "../../src/client/few_tokens.ts";
import { blocksOf } from "../../src/model/families/family.ts";
import { type ModelFolder, openModelFolder } from "../../src/model/model.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import type { RoundSolver } from "../../src/prune/steps.ts";
import type { ReconstructedBlock } from "../../src/protocol/blocks/solved_block.ts";
import type { BlockRun } from "../../src/prune/report/run_report.ts";
import { type FolderJob, pruneIntoFolder } from "../../src/prune/run/folder_destination.ts";
import { serverPruner } from "../../src/prune/server_pruner.ts";
import { assertSame } from "../support/assert_same.ts";
import { FAMILY_FIXTURES, readFamilyFixture } from "../support/family_fixtures.ts";
import { type LocalHost, openLocalHost } from "../support/local_host.ts";
import { readFolder, temporaryFolder } from "../support/temporary_folder.ts";

const FAMILIES = [
  "qwen2_moe",
  "deepseek_v3",
  "glm4_moe",
  "gpt_oss",
  "llama4_text",
  "qwen3_next",
  "nemotron_h",
];

/** The tokens of a window. */
const TOKENS = 9;

/** The observations of a process in its part of a run. */
interface Observed {
  readonly events: Map<string, LayerEvent>;
  readonly reconstructed: ReconstructedBlock[];
  /** The layers that earlier processes have finished. */
  finished: number;
}

for (const family of FAMILIES) {
  describe(`${family}, pruned with targets`, () => {
    const folder = temporaryFolder(), expected = `${folder}/one process`;
    let opened: ModelFolder, near: LocalHost, far: LocalHost, windows: Uint32Array[], whole: Observed;

    /** Prunes into the folder `out`, and stops when `stopAfter` layers are done. */
    async function run(
      out: string,
      pruner: RoundSolver,
      stopAfter = Infinity,
      changes: Partial<FolderJob> = {},
    ): Promise<Observed> {
      const { checkpoint, model } = opened, layers = linearLayers(model.spec);
      const job: FolderJob = {
        checkpoint,
        model,
        windows: windows.slice(1),
        validationWindows: windows.slice(0, 1),
        layers: new Set(layers.map(({ name }) => name)),
        queryOf: () => ({ method: "sparsegpt", sparsity: 0.5 }),
        target: "dense",
        reconstruct: 1,
        out,
        fingerprint: {},
        reportFileNames: ["blocks.json"],
        reportFiles: ({ blocks }) => Promise.resolve(new Map([["blocks.json", JSON.stringify(blocks)]])),
        ...changes,
      };
      const stop = new AbortController(),
        observed: Observed = { events: new Map(), reconstructed: [], finished: 0 };
      await pruneIntoFolder(job, {
        fs: denoFileSystem,
        backend: near.backend,
        pruner,
        signal: stop.signal,
        onDamage: (description) => assert.fail(description),
        onLayerDone(done, _total, event) {
          if (event) observed.events.set(event.name, event);
          else observed.finished = done;
          if (done >= stopAfter) stop.abort(new Error("stopped by the test"));
        },
        onReconstruct: (_block, result) => void observed.reconstructed.push(result),
      });
      return observed;
    }

    before(async () => {
      opened = await openModelFolder(FAMILY_FIXTURES + family, denoFileSystem);
      [near, far] = await Promise.all([openLocalHost("cpu"), openLocalHost("cpu")]);
      windows = (await readFamilyFixture(family)).windows.flatMap((window) =>
        [0, TOKENS].map((first) => window.slice(first, first + TOKENS))
      );
      whole = await run(expected, near.pruner);
    });
    after(() => Promise.all([opened, near, far].map((each) => each[Symbol.asyncDispose]())).then(() => {}));

    it("has the exact number of zeros in every layer, and its routers and vectors as they were", async () => {
      await using pruned = await openModelFolder(expected, denoFileSystem);
      for (const { name, rows, cols } of linearLayers(opened.model.spec)) {
        const { data } = await pruned.checkpoint.tensor(name), values = new Uint16Array(data.slice().buffer);
        // All bits of a zero but its sign, the highest one, are 0.
        const zeros = values.filter((bits) => (bits & 0x7fff) === 0).length;
        assert.equal(zeros, Math.round(rows * cols / 2), name);
      }
      const untouched = blocksOf(opened.model.spec).flatMap((
        { prefix, denseLayers = [], vectors = [] },
        index,
      ) =>
        [...denseLayers.map(({ name }) => `${name}.weight`), ...vectors.map(({ name }) => name)]
          .map((name) => prefix(index) + name)
      );
      assert.ok(untouched.some((name) => /\.(gate|router)\.weight$/.test(name)));
      for (const name of untouched) {
        const [before, after] = [opened, pruned].map(({ checkpoint }) => checkpoint.tensor(name));
        assertSame(await after, await before, name);
      }
    });

    it("has the better solution of each block, with targets or without", async () => {
      const blocks: BlockRun[] = JSON.parse(await Deno.readTextFile(`${expected}/blocks.json`));
      assert.equal(blocks.length, opened.model.spec.blockCount);
      for (const { targets } of blocks) {
        assert.equal(targets!.kept, targets!.error_with! < targets!.error_without!);
      }
      for (const { before, after } of whole.reconstructed) assert.ok(after <= before);
    });

    it("is moved towards the targets of all layers and then reconstructed, if no windows are held out", async () => {
      const { events, reconstructed } = await run(`${folder}/not held out`, near.pruner, Infinity, {
        trueSequential: true,
        validationWindows: [],
        queryOf: () => ({ method: "sparsegpt", sparsity: 0.5, target_step: 0.25 }),
      });
      for (const [name, { report }] of events) assert.ok(report.target_change, name);
      assert.equal(reconstructed.length, opened.model.spec.blockCount);
      for (const { before, after, keptEpoch } of reconstructed) {
        assert.ok(keptEpoch === 1 && after < before, `${after} after ${before}`);
      }
    });

    it("gives the same bytes at two hosts", async () => {
      const pool = new HostPool([near.pare, far.pare]), out = `${folder}/two hosts`;
      await run(
        out,
        serverPruner({ solveRound: withFewTokens((...args) => pool.solveRound(...args)) }),
      );
      assertSame(await readFolder(out), await readFolder(expected));
    });

    it("gives the same bytes after it was stopped four times and resumed", async () => {
      const out = `${folder}/resumed`, total = whole.events.size;
      for (const stop of [0.2, 0.4, 0.6, 0.8].map((share) => Math.round(share * total))) {
        await assert.rejects(run(out, near.pruner, stop), /stopped by the test/);
      }
      const { finished, events } = await run(out, near.pruner);
      assert.ok(finished > total / 2 && finished + events.size === total, `${finished} of ${total}`);
      assertSame(await readFolder(out), await readFolder(expected));
    });

    it("frees the memory of the device", () => {
      assert.equal(near.backend.counters.bytesLive, 0);
    });
  });
}
