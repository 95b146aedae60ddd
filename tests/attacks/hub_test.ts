/** A model is not downloaded from a hub that sends hostile listings, commits or contents. No file outside the cache is written. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { ModelError } from "../../src/base/files/file_error.ts";
import { HubUnreachable } from "../../src/model/hub/hub_access.ts";
import { FILES, WEIGHTS, withHub } from "../model/hub/hub_scene.ts";
import { listNames } from "../support/temporary_folder.ts";
import { withinBounds } from "./bounds.ts";
import { type AttackCase, readCorpus } from "./corpus.ts";

/** What the hub answers instead of the truth, and the error that this causes. */
interface HubCase extends AttackCase {
  readonly message: string;
  readonly listing?: object[];
  readonly commit?: string;
  /** Contents of files that differ from the listing. */
  readonly forged?: Readonly<Record<string, string>>;
  readonly status?: number;
}

const TOKEN = "hf_sesame";

describe("a hub with hostile answers", () => {
  for (const { name, message, listing, commit, forged = {}, status } of readCorpus<HubCase>("hub")) {
    it(`is refused for ${name}`, () =>
      withHub(
        { "config.json": FILES["config.json"], "model.safetensors": WEIGHTS },
        async ({ hub, cacheDir, model, resolve }) => {
          await withinBounds(async () => {
            hub.listing = listing;
            if (commit !== undefined) model.revisions.main = commit;
            for (const [file, text] of Object.entries(forged)) {
              hub.forged[file] = new TextEncoder().encode(text);
            }
            if (status !== undefined) hub.statuses.splice(0, hub.statuses.length, status);
            await assert.rejects(resolve("hf:some/model", { accessToken: TOKEN }), (error: Error) => {
              assert.ok(error instanceof ModelError || error instanceof HubUnreachable, String(error));
              assert.match(error.message, new RegExp(message));
              assert.ok(!error.message.includes(TOKEN), "the token is in the error");
              assert.ok(error.message.length <= 600, `${error.message.length} characters`);
              return true;
            });
          });
          const unexpected = listNames(cacheDir).filter((name) =>
            name !== "models--some--model" && name !== ".locks"
          );
          assert.deepEqual(unexpected, []);
        },
      ));
  }
});
