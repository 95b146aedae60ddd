/** Tests `pare export` to a GGUF file as a process that is killed or interrupted and then started again. */

import { before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { makeRandomLlama } from "../../scripts/fixtures/make_random_llama.ts";
import { assertSame } from "../support/assert_same.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { actDuring, runPare, startPare } from "./run_pare.ts";

const folder = temporaryFolder(), model = `${folder}/model`, out = `${folder}/out/model.gguf`;
const command = ["export", model, "--format", "gguf:q8_0", "--round", "nearest", "--out", out];

/** Starts the command, and sends `signal` when it has written all tensors but the head, which is most of the file. */
async function stop(signal: Deno.Signal): Promise<Deno.CommandStatus> {
  const child = startPare(...command);
  const isWritten = (printed: string) => printed.includes("exporting 11/12 output_norm");
  return await actDuring(child, isWritten, () => child.kill(signal));
}

const files = async () =>
  (await Array.fromAsync(Deno.readDir(`${folder}/out`), ({ name }) => name)).toSorted();

describe(
  "pare export after a kill",
  { skip: Deno.build.os === "windows" && "Windows has no SIGKILL" },
  () => {
    let whole: Uint8Array;
    before(async () => {
      const sizes = { layers: 1, hidden: 512, heads: 8, intermediate: 512, vocabulary: 65536, positions: 64 };
      await makeRandomLlama(model, sizes);
      await Deno.mkdir(`${folder}/out`);
      assert.equal((await runPare(...command)).code, 0);
      whole = await Deno.readFile(out);
    });

    it("leaves the earlier file, and writes the new one when it is started again", async () => {
      await Deno.writeTextFile(out, "earlier");
      assert.equal((await stop("SIGKILL")).signal, "SIGKILL");
      assert.equal(await Deno.readTextFile(out), "earlier");
      assert.deepEqual(await files(), ["model.gguf", "model.gguf.partial"]);
      assert.equal((await runPare(...command)).code, 0);
      assertSame(await Deno.readFile(out), whole);
      assert.deepEqual(await files(), ["model.gguf"]);
    });

    it("removes what it has written if it is interrupted", async () => {
      await Deno.remove(out);
      assert.equal((await stop("SIGINT")).code, 130);
      assert.deepEqual(await files(), []);
    });
  },
);
