/** Tests that Dawn is found, loaded and named, and the errors if it is missing. */

import { deepStrictEqual, ok, strictEqual, throws } from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { fileURLToPath } from "node:url";
import config from "../../../deno.json" with { type: "json" };
import { findDawn, loadDawn, openDawn, TESTED_DAWN } from "../../../src/device/webgpu/runtimes/dawn.ts";
import { openRuntime, parseRuntime } from "../../../src/device/webgpu/runtimes/runtime.ts";
import { describeAdapter, requestAdapter } from "../../../src/device/webgpu/device.ts";
import { dawnSkipReason } from "../../support/dawn.ts";
import { temporaryFolder } from "../../support/temporary_folder.ts";

/** Creates `FOLDER/node_modules/webgpu` with a `package.json` and without the addon, and returns its path. */
async function installFake(folder: string): Promise<string> {
  const dawn = `${folder}/node_modules/webgpu`;
  await Deno.mkdir(dawn, { recursive: true });
  await Deno.writeTextFile(`${dawn}/package.json`, '{ "version": "9.9.9" }');
  return dawn;
}

describe("findDawn()", () => {
  const folder = temporaryFolder();

  it("finds the package that is nearest to the program, and follows a link to it", async () => {
    const far = await installFake(folder), near = await installFake(`${folder}/app`);
    strictEqual(findDawn(`${folder}/main.js`)!.folder, far);
    strictEqual(findDawn(`${folder}/app/node_modules/pare-llm/dist/main.js`)!.folder, near);
    await Deno.mkdir(`${folder}/linked/node_modules`, { recursive: true });
    await Deno.symlink(near, `${folder}/linked/node_modules/webgpu`);
    const linked = findDawn(`${folder}/linked/src/main.ts`)!;
    deepStrictEqual([linked.folder, linked.realFolder], [`${folder}/linked/node_modules/webgpu`, near]);
    ok(linked.addon.startsWith(`${near}/dist/`) && linked.addon.endsWith("/dawn.node"), linked.addon);
  });

  it("makes openDawn() name the missing package or addon, and the command that installs the package", async () => {
    throws(() => openDawn(undefined), {
      message:
        "--webgpu dawn needs the npm package webgpu, but no node_modules folder beside or above the program " +
        `has it; install it with npm install webgpu@${TESTED_DAWN}`,
    });
    await installFake(`${folder}/broken`);
    const broken = findDawn(`${folder}/broken/main.js`)!;
    throws(() => openDawn(broken), (error: Error) => {
      ok(
        error.message.startsWith(`--webgpu dawn: the addon ${broken.addon} cannot be loaded: `),
        error.message,
      );
      return true;
    });
  });
});

describe("parseRuntime()", () => {
  it("returns the name, or names the rule and the value", () => {
    strictEqual(parseRuntime("dawn", "PARE_WEBGPU"), "dawn");
    throws(() => parseRuntime("wgpu", "PARE_WEBGPU"), {
      name: "RangeError",
      message: "PARE_WEBGPU wgpu: must be one of deno, dawn",
    });
  });
});

describe("the runtime dawn", { skip: dawnSkipReason }, () => {
  it("is the version of deno.json, which is the tested one", () => {
    strictEqual(config.imports.webgpu, `npm:webgpu@${TESTED_DAWN}`);
    strictEqual(loadDawn().name, `Dawn (webgpu ${TESTED_DAWN})`);
    strictEqual(loadDawn(), loadDawn());
  });

  it("is a part of the adapter's name, whereas Deno's own implementation is not", async () => {
    const dawn = describeAdapter(await requestAdapter(false, "dawn"), openRuntime("dawn").name);
    ok(dawn.name.endsWith(` with Dawn (webgpu ${TESTED_DAWN})`), dawn.name);
    strictEqual(openRuntime().name, undefined);
    strictEqual(openRuntime("deno").gpu, navigator.gpu);
  });

  it("is named if it finds no adapter", async () => {
    const device = new URL("../../../src/device/webgpu/device.ts", import.meta.url);
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: [
        "eval",
        "--quiet",
        `import { requestAdapter } from "${device}";
         await requestAdapter(false, "dawn").catch((error) => console.log(error.name, error.message));`,
      ],
      cwd: fileURLToPath(new URL("../../..", import.meta.url)),
      env: { VK_DRIVER_FILES: "/no/such/driver.json", VK_ICD_FILENAMES: "/no/such/driver.json" },
      stderr: "null",
    }).output();
    strictEqual(
      new TextDecoder().decode(stdout).trim(),
      `NoAdapterError no WebGPU adapter: this machine has no GPU driver that Dawn (webgpu ${TESTED_DAWN}) can use`,
    );
  });
});
