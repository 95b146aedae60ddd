/** Tests the file of a host's keys: how keys change while the host runs, and what a malformed file does. */

import { afterEach, beforeEach, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { KeyFile } from "../../src/host/key_file.ts";
import type { LogEntry } from "../../src/host/metrics.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { readKeySettings } from "../../routes/key_settings.ts";
import { serve } from "../../routes/serve.ts";
import { digestOf } from "../routes/host.ts";

const INTERVAL = 10;

/** Waits for an event in the log, which must come within ten seconds. */
async function nextEvent(log: LogEntry[], event: string): Promise<LogEntry> {
  for (let wait = 0; wait < 1000 && !log.some((entry) => entry.event === event); wait++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const entry = log.find((entry) => entry.event === event);
  assert.ok(entry, `no event ${event}`);
  return entry;
}

describe("KeyFile.open()", () => {
  for (const text of ["", "\n", "# none\n"]) {
    it(`refuses a file without a key: ${JSON.stringify(text)}`, () =>
      assert.rejects(KeyFile.open({ path: "keys", read: () => Promise.resolve(text) }), {
        name: "RangeError",
        message: "key file keys: has no key; a host without keys would accept every request",
      }));
  }
});

describe("a host with a file of keys", () => {
  let folder: string, versions: number;
  beforeEach(async () => {
    folder = await Deno.makeTempDir();
    versions = 0;
    await Deno.symlink("..data/keys", `${folder}/keys`);
  });
  afterEach(() => Deno.remove(folder, { recursive: true }));

  /** Replaces the file as Kubernetes does: the file is a link through a folder link, and the folder link is replaced. */
  async function mount(text: string): Promise<void> {
    const name = `..version${++versions}`;
    await Deno.mkdir(`${folder}/${name}`);
    await Deno.writeTextFile(`${folder}/${name}/keys`, text);
    await Deno.utime(`${folder}/${name}/keys`, 0, 0);
    await Deno.symlink(name, `${folder}/..temporary`);
    await Deno.rename(`${folder}/..temporary`, `${folder}/..data`);
  }

  async function start() {
    const log: LogEntry[] = [], path = `${folder}/keys`;
    const read = () => Deno.readTextFile(path);
    const keyFile = await KeyFile.open({ path, read, intervalMilliseconds: INTERVAL });
    const host = await serve({
      keyFile,
      backend: "cpu",
      hostname: "127.0.0.1",
      port: 0,
      log: (entry) => void log.push(entry),
    });
    const statusOf = async (key: string) => {
      const response = await fetch(`${host.url}/metrics`, { headers: { Authorization: `Bearer ${key}` } });
      await response.body?.cancel();
      return response.status;
    };
    return { log, statusOf, [Symbol.asyncDispose]: () => host.shutdown() };
  }

  it("accepts a key that was added and refuses one that was removed, without a restart", async () => {
    await mount(`${await digestOf("old")}\n`);
    await using host = await start();
    assert.deepEqual([await host.statusOf("old"), await host.statusOf("new")], [200, 401]);
    await mount(`# rotated\n${await digestOf("new")}:metrics\n`);
    assert.equal((await nextEvent(host.log, "keys changed")).keys, 1);
    assert.deepEqual([await host.statusOf("old"), await host.statusOf("new")], [401, 200]);
  });

  for (
    const [state, text, fault] of [
      ["malformed", "sesame\n", /line 1: must be a sha-256/],
      ["without a key", "# all gone\n", /has no key/],
    ] as const
  ) {
    it(`keeps the old keys and logs the reason once if the file is ${state}`, async () => {
      await mount(await digestOf("old"));
      await using host = await start();
      await mount(text);
      assert.match(String((await nextEvent(host.log, "keys not changed")).fault), fault);
      await new Promise((resolve) => setTimeout(resolve, 5 * INTERVAL));
      assert.deepEqual([await host.statusOf("old"), await host.statusOf("sesame")], [200, 401]);
      assert.equal(host.log.filter(({ event }) => event === "keys not changed").length, 1);
      assert.ok(!JSON.stringify(host.log).includes("sesame"));
      await mount(await digestOf("new"));
      await nextEvent(host.log, "keys changed");
      assert.deepEqual([await host.statusOf("old"), await host.statusOf("new")], [401, 200]);
    });
  }

  it("keeps the old keys if the file disappears", async () => {
    await mount(await digestOf("old"));
    await using host = await start();
    await Deno.remove(`${folder}/keys`);
    assert.match(String((await nextEvent(host.log, "keys not changed")).fault), /not found|No such file/i);
    assert.equal(await host.statusOf("old"), 200);
  });
});

describe("readKeySettings()", () => {
  it("refuses a folder, and a list and a file at the same time", async () => {
    const folder = temporaryFolder();
    await assert.rejects(readKeySettings(undefined, folder), {
      name: "RangeError",
      message: `key file ${folder} cannot be read: it is not a regular file`,
    });
    await assert.rejects(readKeySettings("0".repeat(64), folder), {
      name: "RangeError",
      message: "PARE_KEYS and PARE_KEYS_FILE are both set: set one of them",
    });
  });
});
