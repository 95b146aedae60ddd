/** Tests a hub that lists files without end, or that sends the client to other servers. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { listNames } from "../../support/temporary_folder.ts";
import { FILES, MAIN, withHub } from "./hub_scene.ts";
import { serveHub } from "./fake_hub.ts";

const TOKEN = "hf_secret";

describe("resolveModel() with a hostile hub", () => {
  it("ends with an error if the listing has no end", () =>
    withHub(FILES, async ({ hub, resolve }) => {
      hub.nextPage = `${hub.url}/api/models/some/model/tree/${MAIN}`;
      await assert.rejects(resolve("hf:some/model"), {
        name: "ModelError",
        message: "hf:some/model: the hub lists more than 20 pages of files",
      });
      assert.equal(hub.requests.length, 21); // one for the commit, then the pages, without another attempt
    }));

  it("ends with an error if a page of the listing is very long", () =>
    withHub(FILES, async ({ hub, resolve }) => {
      hub.listing = Array.from({ length: 20 }, () => ({ type: "file", path: "x".repeat(1 << 20) }));
      await assert.rejects(resolve("hf:some/model"), {
        name: "ModelError",
        message: "hf:some/model: an answer of the hub has more than 16777216 bytes",
      });
    }));

  it("refuses malformed answers at once, and does not count them as a hub that cannot be reached", async () => {
    const entry = { type: "file", path: "config.json", size: 2, oid: "0".repeat(40) };
    const listings: unknown[] = ["<html>", {}, 7, [null], [7], [{ ...entry, path: 7 }]];
    listings.push(...[-1, 1.5, "2", undefined].map((size) => [{ ...entry, size }]));
    await withHub(FILES, async ({ hub, resolve }) => {
      for (const listing of listings) {
        hub.listing = listing as object[];
        await assert.rejects(
          resolve("hf:some/model", { onRetry: () => assert.fail("the request was repeated") }),
          {
            name: "ModelError",
            message: "hf:some/model: the answer of the hub is not a list of files",
          },
        );
      }
    });
    const answers = ["<html>", "[]", "{}", '{"sha": 7}'].map((text) => () => new Response(text));
    for (const answer of answers) {
      await using hub = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, answer);
      await withHub(
        FILES,
        ({ resolve }) =>
          assert.rejects(resolve("hf:some/model", { hubUrl: `http://127.0.0.1:${hub.addr.port}` }), {
            name: "ModelError",
            message: "hf:some/model: the answer of the hub is not the description of a repository",
          }),
      );
    }
  });

  it("does not send the token to another server to which the listing continues", () =>
    withHub(FILES, async ({ hub, model, resolve }) => {
      await using other = serveHub(model);
      hub.nextPage = `${other.url}/api/models/some/model/tree/${MAIN}`;
      await resolve("hf:some/model", { accessToken: TOKEN });
      assert.ok(other.requests.length > 0);
      assert.equal(other.token, undefined);
      assert.equal(hub.token, `Bearer ${TOKEN}`);
    }));

  it("does not send the token to another server to which downloads are redirected", () =>
    withHub(FILES, async ({ hub, model, resolve }) => {
      await using other = serveHub(model);
      hub.redirectTo = other.url;
      const folder = await resolve("hf:some/model", { accessToken: TOKEN });
      assert.ok(listNames(folder).includes("model.safetensors"));
      assert.ok(other.requests.length > 0);
      assert.equal(other.token, undefined);
    }));
});
