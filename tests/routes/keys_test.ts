/** Tests API keys: the format of their configuration, and the requests that each scope allows. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { parseKeyFile, parseKeys, SCOPES } from "../../src/protocol/keys.ts";
import { assertProblem } from "./assert_problem.ts";
import { digestOf, startHost } from "./host.ts";

const HEX = "ab".repeat(32);

describe("parseKeys", () => {
  it("reads digests with and without scopes", () => {
    assert.deepEqual(parseKeys(""), []);
    const [all, some] = parseKeys(`${HEX}, ${HEX.toUpperCase()}:solve+metrics,`);
    assert.deepEqual(all, { digest: Uint8Array.fromHex(HEX), scopes: new Set(SCOPES) });
    assert.deepEqual(some.scopes, new Set(["solve", "metrics"]));
  });

  it("accepts `layers` as another name of the scope `solve`", () => {
    assert.deepEqual(parseKeys(`${HEX}:layers+read`)[0].scopes, new Set(["solve", "read"]));
  });

  it("refuses malformed keys without repeating them in the message", () => {
    for (const text of ["sesame", HEX.slice(1), `${HEX}:`, `${HEX}:sesame`, `${HEX} ${HEX}`]) {
      for (const parse of [parseKeys, parseKeyFile]) {
        assert.throws(
          () => parse(text),
          ({ name, message }: Error) =>
            name === "RangeError" && !message.includes(HEX) && !message.includes("sesame"),
        );
      }
    }
  });
});

describe("parseKeyFile", () => {
  it("reads one key per line, and leaves out comments and empty lines", () => {
    const text = `# the keys of a host\r\n${HEX}:metrics # the scraper\n\n  ${"cd".repeat(32)}\n`;
    assert.deepEqual(parseKeyFile(text).map(({ digest }) => digest.toHex()), [HEX, "cd".repeat(32)]);
    assert.deepEqual(parseKeyFile(text)[0].scopes, new Set(["metrics"]));
  });

  it("names the line of a malformed key", () => {
    assert.throws(() => parseKeyFile(`${HEX}\nsesame\n`), {
      name: "RangeError",
      message: "line 2: must be a sha-256 in hexadecimal, or HEX:SCOPE+SCOPE",
    });
  });

  it("refuses a file without a key, because a host without keys accepts every request", () => {
    for (const text of ["", "\n", "# none\n", ","]) {
      assert.throws(() => parseKeyFile(text), { name: "RangeError", message: /^has no key/ });
    }
  });
});

describe("a host with keys", () => {
  it("accepts each key for its scopes only, and serves the public pages without a key", async () => {
    const host = await startHost({
      keys: parseKeys([
        await digestOf("all"),
        `${await digestOf("solver")}:solve+hessians`,
        `${await digestOf("scraper")}:metrics`,
      ].join()),
    });
    const status = async (path: string, key: string, method = "GET") =>
      (await host.request(path, { method, headers: { Authorization: `Bearer ${key}` } })).status;
    const stored = `/v1/hessians/sha256:${"0".repeat(64)}`;
    // With an allowed key, a POST without a body answers 415, and statistics that do not exist answer 404.
    assert.deepEqual(
      await Promise.all(["all", "solver", "scraper", "x"].map((key) => status("/v1/layers", key, "POST"))),
      [
        415,
        415,
        403,
        401,
      ],
    );
    assert.deepEqual(await Promise.all(["all", "solver", "scraper", "x"].map((key) => status(stored, key))), [
      404,
      404,
      403,
      401,
    ]);
    assert.deepEqual(
      await Promise.all(["all", "solver", "scraper", "x"].map((key) => status("/metrics", key))),
      [
        200,
        403,
        200,
        401,
      ],
    );
    for (const path of ["/", "/healthz", "/readyz", "/openapi.json"]) {
      assert.equal((await host.request(path)).status, 200, path);
    }
    await host.close();
  });

  it("answers unauthorized to a missing or malformed key, and forbidden to a key without the scope", async () => {
    const host = await startHost({ keys: parseKeys(`${await digestOf("sesame")}:metrics`) });
    const post = (headers: HeadersInit) => host.request("/v1/layers", { method: "POST", headers });
    for (const authorization of [undefined, "Bearer", "Bearer open", "Basic sesame", "Bearer sesame x"]) {
      const response = await post(authorization ? { Authorization: authorization } : {});
      assert.equal(response.headers.get("WWW-Authenticate"), "Bearer");
      await assertProblem(response, "unauthorized");
    }
    await assertProblem(await post({ Authorization: "Bearer sesame" }), "forbidden");
    await host.close();
  });
});
