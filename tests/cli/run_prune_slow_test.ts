/**
 * Tests `pruneIntoFolder` on a small random model. It is stopped at many moments and resumed, and must end in the same bytes.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { linearSpec } from "../../src/model/layer_specs.ts";
import { existsSync } from "node:fs";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { assertSame } from "../support/assert_same.ts";
import { openLocalHost } from "../support/local_host.ts";
import { type FolderJob, pruneIntoFolder } from "../../src/prune/run/folder_destination.ts";
import type { WorkFileSystem } from "../../src/base/files/file_system.ts";
import { editJournal } from "../support/edit_journal.ts";
import { assertSameAfterKills, fullAfter, killedAfter } from "../support/failing_file_system.ts";
import { openSmallModel, PREFIX } from "../support/small_run.ts";
import { readFolder } from "../support/temporary_folder.ts";

const { folder, checkpoint, job } = await openSmallModel();
const host = await openLocalHost("cpu");
after(() => host[Symbol.asyncDispose]());

/** Spreads the zeros over the layers of the job. */
const ALLOCATION: FolderJob["allocation"] = {
  name: "owl",
  sparsity: 0.5,
  layers: [["0.self_attn.q_proj", 0, 8, 8], ["0.fc1", 0, 16, 8], ["2.fc2", 2, 8, 16]].map((
    [name, block, rows, cols],
  ) => ({
    name: `${PREFIX}.${name}.weight`,
    block: Number(block),
    linear: linearSpec(`${name}`, Number(cols), Number(rows)),
    rows: Number(rows),
    cols: Number(cols),
  })),
};

/** Writes the errors of the blocks into the report. */
const REPORTING: Partial<FolderJob> = {
  reportFiles: ({ blocks }) => Promise.resolve(new Map([["pare.json", JSON.stringify(blocks)]])),
};
const MEASURING: Partial<FolderJob> = {
  ...REPORTING,
  activations: "memory",
  validationWindows: [Uint32Array.of(2, 7, 300, 45, 13, 1)],
};
const RECONSTRUCTING: Partial<FolderJob> = { ...REPORTING, activations: "memory", reconstruct: 2 };
const PACKING: Partial<FolderJob> = {
  format: "pack-quantized",
  queryOf: () => ({ sparsity: 0.5, bits: 4 }),
};

function run(what: FolderJob, fs?: WorkFileSystem, onUnfinished?: (folder: string) => void) {
  const { backend, pruner } = host;
  return pruneIntoFolder(what, {
    fs: fs ?? denoFileSystem,
    backend,
    pruner,
    onUnfinished,
    // A process that was stopped leaves no damage.
    onDamage: (description) => assert.fail(`a run that was only stopped is called damaged: ${description}`),
  });
}

describe("pruneIntoFolder()", () => {
  for (const name of ["owl", "error"] as const) {
    it(`records the sparsities that ${name} chooses, and resumes with the recorded ones`, async () => {
      const out = `${folder}/recorded ${name}`, allocation = { ...ALLOCATION, name };
      let reported: Record<string, number> = {};
      const reportFiles: FolderJob["reportFiles"] = (run) => {
        reported = run.allocation!.sparsities;
        return Promise.reject(new Error("the first process is stopped"));
      };
      await assert.rejects(run(job(out, { allocation, reportFiles })), /the first process is stopped/);
      const total = Object.entries(reported).reduce((sum, [name, sparsity]) => {
        const { rows, cols } = ALLOCATION.layers.find((layer) => layer.name === name)!;
        return sum + Math.round(sparsity * rows * cols);
      }, 0);
      assert.equal(total, 160); // half of 64 + 128 + 128 weights
      // The recorded sparsities are changed, so that a resumed process that measures them again is noticed.
      for (const name of ["states-1.f32", "states-2.f32"]) {
        await Deno.remove(`${out}/.pare/${name}`).catch(() => {}); // the layers before these states are solved again
      }
      await editJournal(
        `${out}/.pare/journal.jsonl`,
        (entries) =>
          entries.slice(0, 2).map((entry) =>
            entry.type === "allocation"
              ? { ...entry, sparsities: { [ALLOCATION.layers[0].name]: 0.25 } }
              : entry
          ),
      );
      const layers = await run(job(out, { allocation }));
      assert.deepEqual(layers.map(({ report }) => report.zeros), [16, 64, 64]);
    });
  }

  for (
    const [what, stride, changes] of [
      ["with hidden states in memory", 2, { activations: "memory" }],
      ["with hidden states on disk and true-sequential calibration", 5, { trueSequential: true }],
      ["with sparsities that an allocation chooses, and hidden states on disk", 5, {
        allocation: ALLOCATION,
      }],
      ["with held-out windows", 2, MEASURING],
      ["with reconstructed blocks", 3, RECONSTRUCTING],
      ["with reconstructed blocks of packed weights", 5, { ...RECONSTRUCTING, ...PACKING }],
      ["with targets and reconstructed blocks of packed weights", 7, {
        ...RECONSTRUCTING,
        ...PACKING,
        target: "dense",
      }],
      ["with targets and held-out windows", 3, { ...MEASURING, target: "dense" }],
    ] as const
  ) {
    it(`writes the same bytes after it was stopped at any change of a file, ${what}`, async () => {
      const expected = `${folder}/whole ${what}`, out = `${folder}/stopped ${what}`;
      await run(job(expected, changes));
      await assertSameAfterKills((out, fs) => run(job(out, changes), fs), expected, out, stride);
    });
  }

  for (
    const [what, tensor, layers] of [
      ["a trained bias", "0.final_layer_norm.bias", "0.self_attn.q_proj.weight and 1 other layers are"],
      ["a trained weight", "2.fc2.weight", "2.fc2.weight is"],
    ] as const
  ) {
    it(`prunes and reconstructs a block again of which ${what} is damaged`, async () => {
      const expected = `${folder}/undamaged ${tensor}`, out = `${folder}/damaged ${tensor}`;
      await run(job(expected, RECONSTRUCTING));
      const stopped = () => Promise.reject(new Error("stopped"));
      await assert.rejects(run(job(out, { ...RECONSTRUCTING, reportFiles: stopped })), /stopped/);
      const { header: { headerBytes, tensors } } = checkpoint.shards[0];
      const { begin, end } = tensors.find(({ name }) => name === `${PREFIX}.${tensor}`)!;
      const stored = await checkpoint.read(`${PREFIX}.${tensor}`, 0, end - begin);
      using file = await Deno.open(`${out}/model.safetensors.partial`, { read: true, write: true });
      await file.seek(headerBytes + begin, Deno.SeekMode.Start);
      const trained = new Uint8Array(end - begin);
      await file.read(trained);
      assert.notDeepEqual(trained, stored);
      await file.seek(headerBytes + begin, Deno.SeekMode.Start);
      await file.write(stored);
      const damage: string[] = [];
      const { backend, pruner } = host;
      const services = {
        fs: denoFileSystem,
        backend,
        pruner,
        onDamage: (text: string) => void damage.push(text),
      };
      await pruneIntoFolder(job(out, RECONSTRUCTING), services);
      assert.ok(damage[0].includes(`${PREFIX}.${layers} damaged`), damage[0]);
      assertSame(await readFolder(out), await readFolder(expected));
    });
  }

  it("writes the same bytes over an older checkpoint when it is stopped several times", async () => {
    const expected = `${folder}/expected`, out = `${folder}/overwritten`;
    await run(job(expected));
    await run(job(out, { queryOf: () => ({ sparsity: 0.2 }), overwrite: true }));
    let stops = 0;
    for (let steps = 12; steps > 0; stops++) {
      steps = await run(job(out, { overwrite: true }), killedAfter(denoFileSystem, steps)).then(
        () => 0,
        () => steps + 2,
      );
    }
    assert.ok(stops > 3, String(stops));
    assertSame(await readFolder(out), await readFolder(expected));
  });

  it("keeps the finished layers when the disk is full, and continues when there is space", async () => {
    const expected = `${folder}/roomy`, out = `${folder}/full`;
    await run(job(expected));
    let unfinishedRuns = 0;
    for (let bytes = 500; bytes < 40_000; bytes += 3_500) {
      await assert.rejects(
        run(job(out), fullAfter(denoFileSystem, bytes), () => unfinishedRuns++),
        { code: "ENOSPC" },
      );
      assert.ok(!(existsSync(`${out}/config.json`)));
    }
    assert.ok(unfinishedRuns > 3, `kept layers ${unfinishedRuns} times`);
    await run(job(out));
    assertSame(await readFolder(out), await readFolder(expected));
  });

  it("removes the output folder after a failure before the first layer", async () => {
    const out = `${folder}/nothing`;
    await assert.rejects(run(job(out, { windows: [] })), /at least one window/);
    assert.equal(existsSync(out), false);
  });

  it("resumes only the same run, names what differs in another run, and starts over with `restart`", async () => {
    const out = `${folder}/changed`, expected = `${folder}/sparser`;
    const stop = Error("stopped");
    const queryOf = (name: string) => name.includes("fc2") ? fail(stop) : { sparsity: 0.5 };
    const stopping = job(out, { queryOf });
    await assert.rejects(run(stopping), stop);
    const other = { fingerprint: { "--sparsity": "0.7", "--seed": "3" }, queryOf: () => ({ sparsity: 0.7 }) };
    await assert.rejects(run(job(out, other)), ({ message }: Error) => {
      assert.match(
        message,
        /differs from this one: --sparsity was 0\.5 and is 0\.7; --seed was absent and is 3\. /,
      );
      assert.match(message, /--restart/);
      return true;
    });
    await run(job(expected, other));
    await run(job(out, { ...other, restart: true }));
    assertSame(await readFolder(out), await readFolder(expected));
  });

  it("names a damaged run file, and starts over with `restart`", async () => {
    const out = `${folder}/damaged`, expected = `${folder}/undamaged`;
    await Deno.mkdir(`${out}/.pare`, { recursive: true });
    await Deno.writeTextFile(`${out}/.pare/run.json`, '{"fingerprint": 3}');
    await assert.rejects(run(job(out)), /run\.json: is not the file of a run; start over with --restart/);
    await run(job(out, { restart: true }));
    await run(job(expected));
    assertSame(await readFolder(out), await readFolder(expected));
  });

  it("removes with `restart` the hidden states that a killed allocation left", async () => {
    const out = `${folder}/abandoned`, states = `${out}/.pare/allocation`;
    await Deno.mkdir(states, { recursive: true });
    await Deno.writeTextFile(`${states}/states-1.f32`, "");
    await Deno.writeTextFile(`${out}/.pare/run.json`, '{"fingerprint": {}}');
    let remained: boolean | undefined;
    const queryOf = () => (remained = existsSync(states), { sparsity: 0.5 });
    await run(job(out, { restart: true, queryOf }));
    assert.equal(remained, false);
  });

  it("refuses to continue a run on another adapter, which would round differently", async () => {
    const out = `${folder}/moved`;
    const stopped = job(out, { queryOf: (name) => name.includes("fc2") ? fail(Error("stopped")) : {} });
    await assert.rejects(run(stopped), /stopped/);
    await editJournal(
      `${out}/.pare/journal.jsonl`,
      (entries) =>
        entries.map((entry) =>
          entry.type === "layer" ? { ...entry, report: { ...entry.report, adapter: "another" } } : entry
        ),
    );
    await assert.rejects(
      run(job(out)),
      /fc2\.weight: was solved on cpu \(Web.*but the first layer of the run was solved on cpu \(another\)/,
    );
  });

  it("refuses an output folder on which another process works", async () => {
    const out = `${folder}/shared`;
    const second = () => run(job(out)).then(() => "ran", ({ message }) => message);
    let message: Promise<string> | undefined;
    await run(job(out, {
      reportFiles: async () => {
        message = second();
        assert.match(await message, /another process is working/);
        return new Map([["pare.json", ""]]);
      },
    }));
    assert.ok(message && existsSync(`${out}/config.json`));
  });
});

function fail(error: Error): never {
  throw error;
}
